import subprocess
import sys

import pytest

import spine_monai


def test_every_public_name_exists():
    assert len(spine_monai.__all__) <= 15
    assert sorted(spine_monai.__all__) == spine_monai.__all__
    for name in spine_monai.__all__:
        assert getattr(spine_monai, name) is not None
    assert set(spine_monai.__all__) <= set(dir(spine_monai))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'localise'"):
        _ = spine_monai.localise


def test_importing_the_package_imports_no_torch():
    code = "import sys, spine_monai; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
