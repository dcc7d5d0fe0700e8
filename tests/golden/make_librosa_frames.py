"""Made `librosa_frames.npz`, once, with librosa 0.11.0 in an environment of its own: the oracle of test_frontend.py.

pip install librosa==0.11.0 && python tests/golden/make_librosa_frames.py
"""

from pathlib import Path

import librosa
import numpy as np

rng = np.random.default_rng(2021)
seconds = np.arange(16_000) / 16_000
chirp = 0.3 * np.sin(2 * np.pi * (100 + 3500 * seconds) * seconds)
samples = (chirp + 0.01 * rng.standard_normal(seconds.size)).astype(np.float32)

spectrum = librosa.stft(samples, n_fft=1024, hop_length=512, window="hann", center=False)
frames = {
    f"f_min_{f_min}": librosa.power_to_db(
        librosa.feature.melspectrogram(S=np.abs(spectrum) ** 2, sr=16_000, n_mels=128, fmin=f_min, fmax=8000),
        ref=1.0,
        amin=1e-10,
        top_db=None,
    ).astype(np.float32)
    for f_min in (0, 1000, 2000)
}
np.savez_compressed(Path(__file__).with_name("librosa_frames.npz"), samples=samples, **frames)
