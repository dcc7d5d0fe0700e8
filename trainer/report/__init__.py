"""One HTML file that people look at: how a detector learned, what it tells apart, and where it is wrong.

content   what a report says, as plain values
gather    those values from detectors, clips and runs
points    clips to places in the embedding
examples  the worst clips, and ordinary ones beside them
facts     what a detector is
tables    what was compared (trainer.evaluation), as tables of a page
figures   values to inline SVG
sound     clips to players and spectrograms
report    all of it into template.html.j2
"""

from trainer.report.content import Column, Example, Facts, Point, ReportContent, Run, Table
from trainer.report.gather import report_of
from trainer.report.report import write_report
from trainer.report.tables import compared_table, honest_tables, paper_tables

__all__ = [
    "Column",
    "Example",
    "Facts",
    "Point",
    "ReportContent",
    "Run",
    "Table",
    "compared_table",
    "honest_tables",
    "paper_tables",
    "report_of",
    "write_report",
]
