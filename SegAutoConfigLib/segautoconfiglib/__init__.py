"""SegAutoConfig's engine: from a folder of images and labels to a trained, evaluated segmentation network.

The sub-packages are the stages, in the order in which data passes through them (:data:`ORDER`). A stage imports
only from itself and from stages before it; nothing is computed at import.
"""

__version__ = "0.1.0"

ORDER = (
    "base",
    "image",
    "dataset",
    "fingerprint",
    "planning",
    "preprocessing",
    "networks",
    "training",
    "models",
    "inference",
    "evaluation",
    "tasks",
    "pipeline",
    "cli",
)
