"""What a run's folder tells of how far it has come."""

from keras_maskrcnn.cli.run_folder import epochs_before

LOG = "epoch,loss,val_ap,val_loss\r\n0,3.5,0.1,NA\r\n1,2.5,nan,NA\r\n2,1.5,0.2,NA\r\n"


def test_the_log_ends_where_the_run_goes_on(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG + "3,1", newline="")  # broken off
    rows = epochs_before(path, 2)
    assert rows[0] == {"epoch": 0, "loss": 3.5, "val_ap": 0.1}
    assert str(rows[1]) == "{'epoch': 1.0, 'loss': 2.5, 'val_ap': nan}"
    assert path.read_bytes() == b"".join(LOG.encode().splitlines(keepends=True)[:3])
    assert epochs_before(path, 0) == []
    assert path.read_text().splitlines() == ["epoch,loss,val_ap,val_loss"]


def test_there_may_be_no_log_yet(tmp_path):
    assert epochs_before(tmp_path / "log.csv", 0) == []
    (tmp_path / "log.csv").touch()
    assert epochs_before(tmp_path / "log.csv", 0) == []
