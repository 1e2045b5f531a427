"""What is shown beside a case."""

import slicer

from SegAutoConfigGui.Scene.Views import showAlone


def test_segmentations_of_other_volumes_are_hidden(makeVolume, makeSegmentation):
    first, second = makeVolume("first"), makeVolume("second")
    own, earlier = (makeSegmentation(name, reference=first) for name in ("own", "earlier"))
    other = makeSegmentation("other", reference=second)
    nodes = (own, earlier, other)
    for node in nodes:
        node.CreateDefaultDisplayNodes()

    def visible():
        return [bool(node.GetDisplayNode().GetVisibility()) for node in nodes]

    showAlone(first, own, keepOwn=True)
    assert visible() == [True, True, False]
    showAlone(first, own)
    assert visible() == [True, False, False]
    showAlone(None, None)
    assert visible() == [False, False, False]
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 3
