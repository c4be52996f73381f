"""Make this package's models and datamodules known to anomalib without anybody importing them.

anomalib has no plugin entry points, but torch has: at the end of `import torch` it calls every entry point of the
group `torch.backends`, and this package puts `autoload` there. Every `import torch` on the machine runs that
function, so this module imports the standard library alone and `autoload` never raises.

Two modules of anomalib are hosts: `anomalib.models` and `anomalib.data`. A host that has not been imported yet is
awaited by a finder on `sys.meta_path`. Once its code has run, or if it is already running (`from anomalib.models
import get_model` in a fresh process imports torch from inside the half-executed `anomalib.models`), the module
object gets a class whose attribute access calls `register` as soon as nothing involved is half imported, and
then becomes an ordinary module again. So the registration happens at the first use of a host, never in the middle of
an import.

`TORCH_DEVICE_BACKEND_AUTOLOAD=0` switches the entry point off. Then `import anomalib_zsad` does the same, and
`anomalib train --model anomalib_zsad.BayesPFL` needs none of this.
"""

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

MODELS = "anomalib.models"
DATA = "anomalib.data"

# The one list of what this package gives to anomalib: host, name, and the module that defines it.
EXPORTS: dict[str, dict[str, str]] = {
    MODELS: {
        "BayesPFL": "anomalib_zsad.models.bayes_pfl.lightning_model",
        "CoPS": "anomalib_zsad.models.cops.lightning_model",
    },
    DATA: {
        "AuxiliaryDataModule": "anomalib_zsad.data.auxiliary",
        "FolderTree": "anomalib_zsad.data.folder_tree",
        "MetaJson": "anomalib_zsad.data.meta_json",
        "SampleDataModule": "anomalib_zsad.data.sample_set",
        "VolumeDataModule": "anomalib_zsad.volumes.datasets.datamodule",
    },
}

# Modules whose classes `get_model({"class_path": ...})` may name by their full path.
ALLOWED_MODULES = ("anomalib_zsad", "anomalib_zsad.models")

OWN_PACKAGE = "anomalib-zsad"
METHODS_GROUP = "anomalib_zsad.methods"
"""Entry points by which other packages bring methods of their own."""

_reported: set[str] = set()
_other_methods_known: list[bool] = []
_brought_by: dict[str, str] = {}  # methods of other packages, and who brings them


def autoload() -> None:
    """Arrange for `register` to run when anomalib is first used; never raises.

    torch calls it at the end of `import torch`; `import anomalib_zsad` calls it too. Calling it again is harmless.
    """
    try:
        if not any(isinstance(finder, _HostFinder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _HostFinder())
        if not _import_in_progress():
            register()
            return
        for host in EXPORTS:
            if host in sys.modules:
                _register_at_first_use(sys.modules[host])
    except Exception as error:  # an exception here would break every `import torch` on the machine
        _report("its classes", error)


def _take_in_other_methods() -> None:
    """Add what other packages offer: entry points of the group `anomalib_zsad.methods`, name = `module:Class`.

    One that is malformed is left out with a warning.
    """
    if _other_methods_known:
        return
    _other_methods_known.append(True)
    try:
        found = entry_points(group=METHODS_GROUP)
        offered = [(point.name, point.value, point.dist.name if point.dist else point.value) for point in found]
    except Exception as error:  # metadata that others installed, in whatever state it is
        _report(f"methods of other packages ({METHODS_GROUP})", error)
        return
    for name, value, package in offered:
        module, colon, attribute = (part.strip() for part in value.partition(":"))
        if not (module and colon and attribute.isidentifier()):
            _report(f"the method {name}", ValueError(f"its entry point is {value!r}; module:Class is needed"), package)
        elif EXPORTS[MODELS].setdefault(attribute, module) == module:
            _brought_by[attribute] = package
        else:
            _report(f"{module}.{attribute}", NameError("there is another method of that name"), package)


def register() -> None:
    """Register everything with those hosts that have been imported; never raises, may be called any number of times.

    Sets the classes as attributes of the host, extends its `__all__`, and allows their full class paths in
    `get_model`. A class that cannot be imported (a dependency is missing, the installation is incomplete) is left
    out with one warning.
    """
    _take_in_other_methods()
    for host_name, exports in EXPORTS.items():
        host = sys.modules.get(host_name)
        if host is None or _initialising(host):
            continue
        for name, module in exports.items():
            _register_class(host, name, module)
    allowed = getattr(sys.modules.get(MODELS), "ALLOWED_MODULES", None)
    if allowed is not None:
        allowed.update(ALLOWED_MODULES)


def _register_class(host: ModuleType, name: str, module: str) -> None:
    """Set one class on its host, unless it cannot be had or the host has another of that name."""
    try:
        value = getattr(importlib.import_module(module), name)
    except Exception as error:  # anomalib must work however broken a package is
        _report(f"{module}.{name}", error, _brought_by.get(name, OWN_PACKAGE))
        return
    if vars(host).setdefault(name, value) is not value:
        another = NameError(f"{host.__name__} has another class of that name")
        _report(f"{module}.{name}", another, _brought_by.get(name, OWN_PACKAGE))
    elif name not in host.__all__:
        host.__all__.append(name)


def _report(name: str, error: Exception, package: str = OWN_PACKAGE) -> None:
    """Warn once that something could not be registered, and say what to do."""
    if name in _reported:
        return
    _reported.add(name)
    logger.warning(
        "anomalib-zsad could not make %s known to anomalib: %s: %s. anomalib itself works. Reinstall with "
        "`pip install --force-reinstall %s`, or set TORCH_DEVICE_BACKEND_AUTOLOAD=0 to stop trying.",
        name,
        type(error).__name__,
        error,
        package,
    )


class _HostFinder:
    """A `sys.meta_path` finder that finds nothing itself: it watches the other finders find a host."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the other finders give for a host, its loader made to tell when the code has run."""
        if fullname not in EXPORTS:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                _tell_when_executed(spec)
                return spec
        return None


def _tell_when_executed(spec: ModuleSpec) -> None:
    """Shadow `exec_module` on the spec's own loader object; the loader stays what it is for everybody else."""
    execute: Callable[[ModuleType], None] | None = getattr(spec.loader, "exec_module", None)
    attributes = getattr(spec.loader, "__dict__", None)
    if execute is None or attributes is None:
        return

    def execute_and_tell(module: ModuleType) -> None:
        execute(module)
        if module.__name__ == spec.name:  # a zip archive has one loader for many modules
            attributes.pop("exec_module", None)
            _register_at_first_use(module)

    attributes["exec_module"] = execute_and_tell


def _register_at_first_use(module: ModuleType) -> None:
    """Make the next attribute access on `module` call `register`, once nothing involved is half imported."""
    original: Any = type(module)
    if getattr(original, "awaits_registration", False):
        return

    class AwaitingModule(original):  # type: ignore[misc]
        """A host whose first use registers this package's classes."""

        awaits_registration = True

        def __getattribute__(self, name: str) -> Any:
            # The import system reads __spec__, __path__ and the like all the time; none of that is a use.
            is_use = name == "__all__" or not name.startswith("__")
            if is_use and not _import_in_progress():
                self.__class__ = original  # first: what register imports uses this module
                register()
            return original.__getattribute__(self, name)

    module.__class__ = AwaitingModule


def _import_in_progress() -> bool:
    """Whether a host or a module of this package is half imported (the light package itself does not count)."""
    ours = __name__.removesuffix("registration")
    watched = (*EXPORTS, *(name for name in tuple(sys.modules) if name.startswith(ours) and name != __name__))
    return any(_initialising(sys.modules.get(name)) for name in watched)


def _initialising(module: ModuleType | None) -> bool:
    """Whether a module's code is running: the flag by which Python itself recognises circular imports."""
    spec = None if module is None else vars(module).get("__spec__")
    return bool(getattr(spec, "_initializing", False))
