"""Folders that are made for one command alone."""

from l2o_cli.files import new_folder


def test_commands_that_begin_in_one_second_get_folders_of_their_own(tmp_path):
    wanted = tmp_path / "runs" / "compare-20250101-120000"
    with new_folder(wanted) as first, new_folder(wanted) as second, new_folder(wanted) as third:
        assert [path.name for path in (first, second, third)] == [wanted.name, f"{wanted.name}-2", f"{wanted.name}-3"]
        (second / "curves.csv").touch()
    assert [path.name for path in wanted.parent.iterdir()] == [second.name]  # what stayed empty is gone
