"""What the line costs, side by side in one run; `python -m benchmarks`. Nothing here is a test and nothing may fail."""

import os

# Before numpy is imported, since its BLAS reads them once: a figure for one core is measured on one thread.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

# Before onnxruntime is imported: its reports to its maker are a thread of their own.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
