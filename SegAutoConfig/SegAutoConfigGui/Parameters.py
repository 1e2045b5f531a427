"""What is saved with the scene."""

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class Parameters:
    """The panels' choices. The cases and labels of a new dataset are kept beside them (see Cases.py, Labels.py)."""

    # Dataset
    dataset: str = ""
    # Train
    trainDataset: str = ""
    # Segment
    model: str = ""
    segmentVolume: vtkMRMLScalarVolumeNode | None
