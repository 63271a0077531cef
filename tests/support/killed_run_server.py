"""What the server of `killed_run` has done before it is forked: all is imported, compiled and made once, but nothing is computed by torch.

A run that is made here brings in what torch loads late.
"""

import tempfile
from pathlib import Path

import killed_run

with tempfile.TemporaryDirectory() as folder:
    killed_run.loop_in(Path(folder), killed_run.Diary(Path(folder) / "diary"), killed_run.Ranks())
