import math

import cv2
import numpy as np
import pytest

from keras_maskrcnn.data import Dataset, open_dataset
from keras_maskrcnn.data.formats.convert import convert
from keras_maskrcnn.data.formats.cvat import recognise
from keras_maskrcnn.data.masks import decode_mask, encode_mask
from keras_maskrcnn.data.records import Contents, Instance, Record

WIDTH, HEIGHT = 40, 20
META = """<meta><task><labels>
<label><name>dog</name><type>any</type></label><label><name> cat </name></label>
<label><name>good_frame</name><type>tag</type></label>
<label><name>limb</name><type>points</type><parent>dog</parent></label>
</labels></task></meta>"""
SQUARE = '<polygon label="cat" points="2.50,3.00;10,3;10,9;2.5,9" occluded="0"/>'


def document(shapes, meta=META, image=f'name="a.png" width="{WIDTH}" height="{HEIGHT}"'):
    return f'\ufeff<annotations>{meta}<image id="0" {image}>{shapes}</image></annotations>'


def write(root, text, picture="images/a.png"):
    (root / picture).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / picture), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    (root / "annotations.xml").write_text(text, encoding="utf-8")
    return open_dataset(root)


def masks(record):
    return [decode_mask(i.segmentation, record.height, record.width) for i in record.instances]


def test_the_labels_are_the_classes_in_their_order(tmp_path):
    dataset = write(tmp_path, document(SQUARE))
    assert dataset.problems == []
    assert dataset.class_names == ("dog", "cat")
    (instance,) = dataset.records[0].instances
    assert (instance.class_id, instance.box, instance.area) == (1, (2.5, 3, 10, 9), 45)
    kept = open_dataset(tmp_path / "annotations.xml", class_names=["cat"])
    assert kept.records[0].instances[0].class_id == 0
    with pytest.raises(ValueError, match="no class 'cow'; there are dog, cat"):
        open_dataset(tmp_path, class_names=["cow"])
    assert write(tmp_path, document(SQUARE, meta="")).class_names == ("cat",)


def test_boxes_turn_clockwise(tmp_path):
    box = '<box label="cat" xtl="10" ytl="8" xbr="22" ybr="12" rotation="{}"/>'
    shapes = box.format("0.0") + box.format("90") + box.format("30")
    record = write(tmp_path, document(shapes)).records[0]
    straight, upright, slanted = record.instances
    assert straight.box == (10, 8, 22, 12)
    assert upright.box == pytest.approx((14, 4, 18, 16))
    assert slanted.area == pytest.approx(48)
    # The end that was on the right goes down: (22, 8) about (16, 10).
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    corner = (16 + 6 * cos + 2 * sin, 10 + 6 * sin - 2 * cos)
    assert slanted.segmentation[0][2:4] == pytest.approx(corner)


def test_ellipses(tmp_path):
    ellipse = '<ellipse label="cat" cx="20" cy="10" rx="8" ry="3" rotation="90.00"/>'
    (instance,) = write(tmp_path, document(ellipse)).records[0].instances
    assert instance.box == pytest.approx((17, 2, 23, 18), abs=0.01)
    assert instance.area == pytest.approx(math.pi * 24, rel=0.002)


def test_the_runs_of_a_mask_go_through_its_rectangle_row_by_row(tmp_path):
    text = '<mask label="cat" rle="1, 2, 1, 1, 3" left="5" top="7" width="4" height="2"/>'
    first = '<mask label="dog" rle="0, 3, 1" left="36" top="19" width="4" height="1"/>'
    record = write(tmp_path, document(text + first)).records[0]
    mask, other = masks(record)
    assert np.argwhere(mask).tolist() == [[7, 6], [7, 7], [8, 5]]
    assert np.argwhere(other).tolist() == [[19, 36], [19, 37], [19, 38]]
    assert record.instances[0].box == (5, 7, 8, 9)


def test_polylines_that_end_where_they_begin(tmp_path):
    closed = '<polyline label="cat" points="2,3;10,3;10,9;2,3"/>'
    line = '<polyline label="cat" points="2,3;10,3;10,9;2,4"/>'
    dataset = write(tmp_path, document(closed + line))
    (instance,) = dataset.records[0].instances
    assert instance.segmentation == [[2, 3, 10, 3, 10, 9]]
    (problem,) = dataset.problems
    assert str(problem).endswith(
        "annotations.xml: image[0] shape[1]: a polyline that does not end where it begins encloses "
        "nothing; it is left out"
    )


def test_groups_are_parts_of_one_object(tmp_path):
    part = '<polygon label="{}" points="{}" group_id="{}"/>'
    far = '<mask label="cat" rle="0, 4" left="20" top="2" width="2" height="2" group_id="7"/>'
    shapes = (
        part.format("cat", "2,3;10,3;10,9;2,9", 7)
        + part.format("dog", "2,3;10,3;10,9;2,9", 7)
        + far
        + part.format("cat", "12,3;14,3;14,9;12,9", 8)
        + part.format("cat", "22,3;24,3;24,9;22,9", 8)
        + part.format("cat", "30,3;34,3;34,9;30,9", 0)
        + part.format("cat", "36,3;38,3;38,9;36,9", 0)
    )
    dataset = write(tmp_path, document(shapes))
    assert dataset.problems == []
    both, dog, polygons, *alone = dataset.records[0].instances
    assert (both.box, both.area) == ((2, 2, 22, 9), 8 * 6 + 4)
    assert len(polygons.segmentation) == 2
    assert [instance.box for instance in alone] == [(30, 3, 34, 9), (36, 3, 38, 9)]
    assert dog.class_id == 0


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ('<points label="cat" points="1,2;3,4"/>', "a 'points' encloses nothing"),
        ('<skeleton label="cat"/>', "a 'skeleton' encloses nothing"),
        ('<polygon points="2,3;10,3;10,9"/>', "has no label"),
        ('<polygon label="cat"/>', "points must be like 1.5,2;3,4;5,6"),
        ('<polygon label="cat" points="2,3;10,3;10"/>', "points must be like 1.5,2;3,4;5,6"),
        ('<polygon label="cat" points="2,3;10,3"/>', "no polygon has three points"),
        ('<polygon label="cat" points="2,3;10,nan;10,9"/>', "NaN or infinite"),
        ('<polygon label="cat" points="90,3;99,3;99,9"/>', "outside the image of 40x20"),
        ('<box label="cat" xtl="1" ytl="2" xbr="4"/>', "a box needs ybr"),
        ('<ellipse label="cat" cx="1" cy="2" rx="0" ry="2"/>', "is empty"),
        ('<mask label="cat" rle="1" left="0" top="0" width="1"/>', "a mask needs height"),
        ('<mask label="cat" rle="1, 2" left="0" top="0" width="2" height="2"/>', "add up to 3"),
        ('<mask label="cat" rle="-1, 5" left="0" top="0" width="2" height="2"/>', "add up to 4"),
        ('<mask label="cat" rle="0, 4" left="39" top="0" width="2" height="2"/>', "reaches out"),
        ('<mask label="cat" rle="0, 4" left="-1" top="0" width="2" height="2"/>', "reaches out"),
        ('<mask label="cat" rle="9" left="0" top="0" width="99999" height="99999"/>', "not fit"),
        ('<mask label="cat" rle="4" left="0" top="0" width="2" height="2"/>', "empty"),
        ('<mask label="cat" rle="a" left="0" top="0" width="2" height="2"/>', "invalid literal"),
    ],
)
def test_a_bad_shape_is_left_out_and_listed(shape, what, tmp_path):
    dataset = write(tmp_path, document(SQUARE + shape))
    assert len(dataset.records[0].instances) == 1
    (problem,) = dataset.problems
    assert problem.where.endswith("annotations.xml: image[0] shape[1]")
    assert what in problem.what
    assert problem.lost == "annotation"


def test_tags_are_counted(tmp_path):
    dataset = write(tmp_path, document(SQUARE + '<tag label="good_frame"/><tag label="x"/>'))
    (problem,) = dataset.problems
    assert "its 2 tags of whole images are passed over" in str(problem)
    assert dataset.broken() == {"image": (0, 1), "annotation": (0, 1)}


@pytest.mark.parametrize(
    ("image", "picture"),
    [
        ('name="a.png"', "images/a.png"),
        ('name="a.png"', "a.png"),
        ('name="b/a.png"', "images/b/a.png"),
        ('name="b\\a.png"', "images/b/a.png"),
        ('name="a.png" subset="Train"', "images/Train/a.png"),
        ('name="a.png" subset="Train"', "images/a.png"),
    ],
)
def test_places_of_an_image(image, picture, tmp_path):
    record = write(tmp_path, document(SQUARE, image=image), picture).records[0]
    assert record.path == str(tmp_path / picture)
    assert (record.height, record.width) == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("image", "what"),
    [
        ('name="b.png"', "there is no image file"),
        ("", "has no name"),
        ('name="a.png" width="41" height="20"', "is 40x20, but its width and height are 41x20"),
        ('name="a.png" width="x" height="20"', "width must be a whole number of pixels, got 'x'"),
    ],
)
def test_a_bad_image_is_left_out_and_listed(image, what, tmp_path):
    text = document(SQUARE).replace("</annotations>", f"<image {image}/></annotations>")
    dataset = write(tmp_path, text)
    assert len(dataset) == 1
    (problem,) = dataset.problems
    assert problem.where.endswith("annotations.xml: image[1]")
    assert what in problem.what
    assert problem.lost == "image"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<annotations><track id='0' label='cat'/></annotations>", "tracks of CVAT for video"),
        ("<annotations></annotations>", "it has no <image>"),
        ("<annotations><image>", "not an XML file"),
        ("<!DOCTYPE annotations><annotations ></annotations>", "document type"),
    ],
)
def test_other_files_are_refused_by_name(text, what, tmp_path):
    with pytest.raises(ValueError, match=what) as error:
        write(tmp_path, text)
    assert "annotations.xml" in str(error.value)


def test_voc_s_xml_is_not_cvat_s(tmp_path):
    (tmp_path / "annotations.xml").write_text("<annotation><folder>a</folder></annotation>")
    assert recognise(tmp_path, None) is None


def test_everything_but_crowds_comes_back(tmp_path):
    ring = np.zeros((HEIGHT, WIDTH), np.uint8)
    ring[2:18, 2:18] = 1
    ring[6:12, 6:9] = 0
    parts = [[2.123456789, 2, 9, 2, 9, 8], [12, 3, 20, 3.5, 20, 9.5]]
    instances = (
        Instance((2, 2, 18, 18), 0, encode_mask(ring), area=float(ring.sum())),
        Instance((2.123456789, 2, 20, 9.5), 1, parts, area=44),
        Instance((0, 6, 7, 8), 0, area=14),
        Instance((5, 6, 7, 8), 0, parts, crowd=True),
    )
    cv2.imwrite(str(tmp_path / "a & b.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    record = Record(1, str(tmp_path / "a & b.png"), HEIGHT, WIDTH, instances)
    dataset = Dataset(tmp_path, Contents([record], ("<cat>", "dög")))
    assert convert(dataset, "cvat", tmp_path / "out") == {
        "objects without a mask, written as rectangles": 1,
        "crowds, left out": 1,
    }
    written = open_dataset(tmp_path / "out")
    assert written.problems == []
    assert written.class_names == ("<cat>", "dög")
    first, second, third = written.records[0].instances
    assert (first.box, first.area, first.class_id) == ((2, 2, 18, 18), ring.sum(), 0)
    np.testing.assert_array_equal(masks(written.records[0])[0], ring)
    assert (second.segmentation, second.class_id) == (parts, 1)
    assert third.box == (0, 6, 7, 8)
