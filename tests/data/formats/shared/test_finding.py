import pytest

from keras_maskrcnn.data.formats.shared.finding import ImageFinder, is_picture


def test_no_image_is_taken_for_two(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    finder = ImageFinder([tmp_path], ["train/a.png", "val/a.png", "val/b.png"])
    assert finder.find("train/a.png") is None
    assert finder.find("val/a.png") is None
    assert finder.find("val/b.png") == str(tmp_path / "b.png")


@pytest.mark.parametrize("name", ["images/a.png", "images\\a.png", "../img/a.png", "C:\\x\\a.png"])
def test_names_that_another_machine_wrote(tmp_path, name):
    (tmp_path / "a.png").touch()
    assert ImageFinder([tmp_path], [name]).find(name) == str(tmp_path / "a.png")
    assert ImageFinder([tmp_path], [name, "a.png"]).find(name) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.JPG", True),
        ("a.b.png", True),
        ("scan", True),
        (".DS_Store", False),
        ("._a.jpg", False),
        ("Thumbs.db", False),
        ("desktop.ini", False),
        ("a.txt", False),
    ],
)
def test_pictures_of_a_folder(name, expected):
    assert is_picture(name) is expected
