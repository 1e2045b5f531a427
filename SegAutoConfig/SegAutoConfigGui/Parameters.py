"""What is saved with the scene."""

from typing import Annotated

from slicer import vtkMRMLSegmentationNode, vtkMRMLSequenceNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class Parameters:
    """The panels' choices. The cases and labels of a new dataset are kept beside them (see Cases.py, Labels.py)."""

    # Dataset
    dataset: str = ""
    datasetNumber: Annotated[int, WithinRange(1, 999)] = 1
    datasetName: str = ""
    datasetFileEnding: Annotated[str, Choice([".nrrd", ".nii.gz", ".mha"])] = ".nrrd"
    datasetVisibleOnly: bool = False
    datasetResample: bool = False
    # Train
    trainDataset: str = ""
    trainTimed: bool = True
    trainMinutes: int = 60
    trainEpochs: int = 100
    trainConfiguration: str = ""
    trainFold: str = "0"
    trainPlanner: str = "default"
    trainMemoryTarget: float = 0.0
    trainStartFrom: str = ""
    # Segment
    model: str = ""
    segmentTask: str = ""
    segmentTaskMode: str = ""
    segmentSomeStructures: bool = False
    segmentStructures: str = ""
    segmentInput: str = "volume"
    segmentSequence: vtkMRMLSequenceNode | None
    segmentResult: vtkMRMLSegmentationNode | None
    segmentFolds: str = ""
    segmentFaster: bool = False
    segmentResample: bool = False
    segmentShow3D: bool = False
    segmentProbabilities: bool = False
    segmentUncertainty: bool = False
    segmentReplace: bool = False
