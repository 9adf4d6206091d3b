"""Two short texts for calibration and perplexity where nothing can be downloaded.

English prose in the manner of a nineteenth-century novel, written for this project; see ``README.md``.
"""

from pathlib import Path

CALIBRATION_TEXT = Path(__file__).with_name("calibration.txt")
"""For importance scores and other calibration; about 12 kB."""

EVALUATION_TEXT = Path(__file__).with_name("evaluation.txt")
"""For perplexity; shares no sentence with ``CALIBRATION_TEXT``; about 12 kB."""
