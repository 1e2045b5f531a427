"""The volumes and segmentations that tests are made of."""

import numpy as np
import pytest
import slicer
from slicerhost import demo


@pytest.mark.parametrize("direction", [None, demo.oblique(), np.diag([-1, -1, 1])])
def test_a_segmentation_holds_the_given_mask_on_the_given_grid(direction):
    volume = demo.makeVolume("ct", spacing=(0.7, 0.8, 2.5), origin=(-10, 20, 5), direction=direction)
    mask = np.zeros((12, 14, 16), bool)
    mask[3:6, 2:12, 1:5] = True
    node = demo.makeSegmentation("seg", {"liver": mask}, reference=volume)
    segment = node.GetSegmentation().GetNthSegmentID(0)
    assert node.GetSegmentation().GetSegment(segment).GetName() == "liver"
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume) != 0, mask)


def test_a_label_map_volume():
    assert demo.makeVolume("labels", np.ones((3, 4, 5), np.uint8), labelmap=True).IsA("vtkMRMLLabelMapVolumeNode")
