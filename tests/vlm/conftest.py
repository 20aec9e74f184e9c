import pytest
from PIL import Image
from vlm_models import VLMS


@pytest.fixture(scope="session")
def vlm_folder(tmp_path_factory):
    """(kind, what it always says, or "") -> the folder of a small model."""
    made = {}

    def get(kind: str, says: str = ""):
        if (kind, says) not in made:
            made[kind, says] = VLMS[kind](tmp_path_factory.mktemp(kind), says)
        return made[kind, says]

    return get


@pytest.fixture
def red():
    return Image.new("RGB", (80, 60), "red")


@pytest.fixture
def blue():
    return Image.new("RGB", (60, 90), "blue")
