"""The registry and its cards agree, and every card says what must be known."""

import pytest
from click.testing import CliRunner

from vlad.adapters import find_adapter, read_adapter
from vlad.adapters.cards import FIELDS, registry
from vlad.adapters.layouts import LAYOUTS
from vlad.cli import main
from vlad.errors import AdapterError
from vlad.system.resources import data_folder, read_toml


def test_every_card_is_registered_and_whole():
    folder = data_folder("adapters")
    listed = read_toml(folder / "registry.toml")["cards"]
    assert {f"cards/{file.name}" for file in (folder / "cards").glob("*.toml")} == set(
        listed.values()
    )
    cards = registry()
    assert cards.keys() == listed.keys()
    for name, card in cards.items():
        assert card["head"] in LAYOUTS, name
        assert all(card[field] for field in FIELDS), name
        assert card["figures"], name
        assert all("(" in figure for figure in card["figures"]), name  # each says whose it is


@pytest.mark.parametrize("name", ["vlad-tiny-uniadet", "vlad-tiny-metauas"])
def test_what_ships_fits_the_built_in_backbone(name):
    done = CliRunner().invoke(main, ["adapters", "verify", name])
    assert done.exit_code == 0 and "is intact and fits vlad-tiny" in done.output
    listed = CliRunner().invoke(main, ["adapters", "list"]).output
    assert name in listed


def test_a_released_adapter_that_is_not_here_is_told_from_an_unknown_name():
    with pytest.raises(AdapterError, match=r"not on this disk; get it from .*vlad adapters import"):
        find_adapter("anomalyclip-visa")
    with pytest.raises(AdapterError, match="Unknown adapter 'anomaly'"):
        find_adapter("anomaly")


def test_an_adapter_that_is_there_is_not_moved():
    adapter = read_adapter(find_adapter("vlad-tiny-uniadet"))
    assert adapter.to("cpu") is adapter
    moved = adapter.to("meta")
    assert {x.device.type for x in moved.tensors.values()} == {"meta"}
    assert moved.sha256 == adapter.sha256
