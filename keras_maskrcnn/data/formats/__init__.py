"""One module a format of annotations, and each has the same names.

- `NAME`: what `convert` and `convert-dataset --to` call it.
- `LAYOUT`: in a line, the files that it is recognised by.
- `recognise(path, images)`: the file or folder that `read` takes if the existing `path` is of this
  format, else None; it looks at the names of files and at the start of one. `images` is the folder
  of the images where one was named, else None.
- `read(path, images=None, class_names=None)`: the `Contents` of it. `images` is the folder of the
  images if they lie elsewhere than the format says, `class_names` are the classes to keep, in the
  order of their class ids. What is broken is left out and goes to the `problems`.
- `write(dataset, folder, link_images)`: writes a dataset to an empty folder, with copies of its
  images or links to them, and returns what the format cannot hold, in words, and how many of it.
  A format that is only read has no `write`.

A new format is a module with these names and its place in `FORMATS`.
"""

from keras_maskrcnn.data.formats import (
    coco,
    cvat,
    labelme,
    mask_png,
    supervisely,
    tfrecord,
    via,
    voc,
    yolo,
)

# In the order in which they are asked: any folder may be one of masks where images are named.
FORMATS = (voc, tfrecord, coco, via, labelme, yolo, cvat, supervisely, mask_png)

__all__ = ["FORMATS"]
