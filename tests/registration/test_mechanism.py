"""How the registration waits for a host, tried on small modules that stand for anomalib's."""

import importlib
import logging
import sys
from types import ModuleType

import pytest

from anomalib_zsad import registration

HOST = "__all__ = ['own']\nALLOWED_MODULES = set()\nown = 1\n"
LATE_HOST = (
    "from anomalib_zsad import registration\n"
    "registration.autoload()\n"  # as torch does when the host imports it
    "import {plugin}_helper\n"  # an import that reads attributes of the half-executed host
    "__all__ = ['own']\nALLOWED_MODULES = set()\nown = 1\n"
)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two modules, host and plugin, that the registration takes for anomalib.models and this package's model."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registration, "EXPORTS", {"zsad_host": {"Thing": "zsad_plugin"}})
    monkeypatch.setattr(registration, "MODELS", "zsad_host")
    monkeypatch.setattr(registration, "_reported", set())
    monkeypatch.setattr(registration, "_other_methods_known", [])
    monkeypatch.setattr(registration, "_brought_by", {})
    monkeypatch.setattr(
        sys,
        "meta_path",
        [finder for finder in sys.meta_path if not isinstance(finder, registration._HostFinder)],
    )
    (tmp_path / "zsad_host.py").write_text(HOST)
    (tmp_path / "zsad_plugin.py").write_text("import zsad_host\nclass Thing: pass\n")
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("zsad_")]:
        del sys.modules[name]


def check_registered(host):
    assert host.Thing is sys.modules["zsad_plugin"].Thing
    assert host.__all__ == ["own", "Thing"]
    assert host.own == 1
    assert "anomalib_zsad" in host.ALLOWED_MODULES
    assert type(host) is ModuleType


def test_a_host_imported_later_is_registered_at_its_first_use(world):
    registration.autoload()
    registration.autoload()
    import zsad_host

    assert "zsad_plugin" not in sys.modules  # nothing happens inside the import
    assert "exec_module" not in vars(zsad_host.__loader__)
    check_registered(zsad_host)


def test_a_host_that_is_running_is_registered_at_its_first_use_afterwards(world):
    (world / "zsad_host.py").write_text(LATE_HOST.format(plugin="zsad"))
    (world / "zsad_helper.py").write_text("import zsad_host\nassert not hasattr(zsad_host, 'own')\n")
    from zsad_host import own

    assert own == 1
    check_registered(sys.modules["zsad_host"])


def test_a_host_imported_before_is_registered_at_once(world):
    import zsad_host

    registration.autoload()
    assert "zsad_plugin" in sys.modules
    check_registered(zsad_host)
    registration.register()
    check_registered(zsad_host)


def test_star_import_sees_the_new_names(world):
    registration.autoload()
    names = {}
    exec("from zsad_host import *", names)  # noqa: S102
    assert names["Thing"] is sys.modules["zsad_plugin"].Thing


def test_registration_waits_while_the_plugin_itself_is_half_imported(world, monkeypatch, caplog):
    monkeypatch.setattr(registration, "EXPORTS", {"zsad_host": {"Thing": "anomalib_zsad.zsad_probe"}})
    monkeypatch.setattr(sys.modules["anomalib_zsad"], "__path__", [*sys.modules["anomalib_zsad"].__path__, str(world)])
    (world / "zsad_probe.py").write_text("from zsad_host import own\nclass Thing: pass\n")
    registration.autoload()
    probe = importlib.import_module("anomalib_zsad.zsad_probe")
    try:
        assert caplog.text == ""
        assert sys.modules["zsad_host"].Thing is probe.Thing
    finally:
        del sys.modules["anomalib_zsad.zsad_probe"], sys.modules["anomalib_zsad"].zsad_probe


def test_a_broken_plugin_leaves_the_host_working_and_warns_once(world, caplog):
    (world / "zsad_plugin.py").write_text("import a_dependency_that_is_missing\n")
    registration.autoload()
    import zsad_host

    with caplog.at_level(logging.WARNING):
        assert zsad_host.own == 1
        registration.register()
    assert not hasattr(zsad_host, "Thing")
    assert caplog.text.count("could not make zsad_plugin.Thing known to anomalib") == 1
    assert "No module named 'a_dependency_that_is_missing'" in caplog.text
    assert "pip install --force-reinstall anomalib-zsad" in caplog.text


def offer(folder, *lines):
    """Another package's metadata, as pip leaves it, with entry points of its own."""
    metadata = folder / "other_methods-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-methods\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join([f"[{registration.METHODS_GROUP}]", *lines]) + "\n")


def test_a_method_of_another_package_is_registered(world):
    (world / "zsad_other.py").write_text("class Other: pass\n")
    offer(world, "Other = zsad_other:Other")
    registration.autoload()
    import zsad_host

    assert zsad_host.Other is sys.modules["zsad_other"].Other
    assert zsad_host.__all__ == ["own", "Thing", "Other"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "Other = zsad_other",
            "the method Other known to anomalib: ValueError: its entry point is 'zsad_other'; module:",
        ),
        ("Other = zsad_other:", "the method Other known to anomalib: ValueError: its entry point is 'zsad_other:'"),
        ("Other = zsad_absent:Other", "zsad_absent.Other known to anomalib: ModuleNotFoundError"),
        ("Thing = zsad_other:Thing", "zsad_other.Thing known to anomalib: NameError: there is another method of that"),
    ],
)
def test_what_another_package_offers_in_vain_breaks_nothing(world, caplog, line, message):
    (world / "zsad_other.py").write_text("class Other: pass\n")
    offer(world, line)
    registration.autoload()
    import zsad_host

    check_registered(zsad_host)
    assert message in caplog.text
    assert "pip install --force-reinstall other-methods" in caplog.text


def test_metadata_that_cannot_be_read_breaks_nothing(world, caplog, monkeypatch):
    monkeypatch.setattr(registration, "entry_points", lambda **_: 1 / 0)
    registration.autoload()
    import zsad_host

    check_registered(zsad_host)
    assert "methods of other packages (anomalib_zsad.methods) known to anomalib: ZeroDivisionError" in caplog.text


def test_a_class_of_the_hosts_own_is_never_replaced(world, caplog):
    (world / "zsad_host.py").write_text(HOST + "class Thing:\n    is_host = True\n")
    registration.autoload()
    import zsad_host

    assert zsad_host.Thing.is_host
    assert "zsad_host has another class of that name" in caplog.text


def test_autoload_never_raises(monkeypatch, caplog):
    monkeypatch.setattr(registration, "_import_in_progress", lambda: 1 / 0)
    monkeypatch.setattr(registration, "_reported", set())
    registration.autoload()
    assert "ZeroDivisionError" in caplog.text
