"""From config nodes to objects, with every option checked against the constructor that receives it."""

import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

_HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


def build(node: DictConfig, where: str, **runtime: Any) -> Any:
    """Instantiate a config node into plain Python objects (never DictConfig).

    Args:
        node: what to build.
        where: its place in the config, for messages.
        runtime: arguments that no config can give.

    Raises ValueError or TypeError naming the option and its value, and whatever the constructor raises.
    """
    plain = OmegaConf.to_container(node, resolve=True)
    check(plain, where)
    # Without interpolations: Hydra would resolve them in place, down to those of nodes elsewhere that `node` refers to.
    resolved: Any = OmegaConf.create(plain)
    try:
        if not runtime:
            return instantiate(resolved, _convert_="all")
        # As a partial, since Hydra would turn dataclasses among the runtime arguments into dicts.
        return instantiate(resolved, _convert_="all", _partial_=True)(**runtime)
    except InstantiationException as error:
        raise error.__cause__ or error from None


def check(node: Any, where: str) -> None:
    """Raise for an option that its constructor does not know, or whose type it does not take."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            check(item, f"{where}[{i}]")
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        _check_call(node, where)
    for key, value in node.items():
        check(value, f"{where}.{key}")


def _check_call(node: dict[str, Any], where: str) -> None:
    try:
        target = get_object(node["_target_"])
    except Exception as error:
        raise ValueError(f"{where}._target_={node['_target_']}: there is no such class") from error
    hints = _options(target)
    for key, value in node.items():
        if key in _HYDRA_KEYS:
            continue
        if key not in hints:
            known = sorted(hints)
            raise ValueError(f"{where}.{key}={value}: {target.__name__} has no such option; it has {', '.join(known)}")
        if not _accepts(hints[key], value):
            raise TypeError(f"{where}.{key}={value!r} is of type {type(value).__name__}, expected {_name(hints[key])}")


def _options(target: Any) -> dict[str, Any]:
    """Argument names and their types; those that a constructor passes on as **kwargs are its base class's."""
    classes = target.__mro__ if inspect.isclass(target) else ()
    callables = [vars(c)["__init__"] for c in classes if "__init__" in vars(c)] or [target]
    options: dict[str, Any] = {}
    for function in callables:
        parameters, hints = inspect.signature(function).parameters, get_type_hints(function)
        for name, parameter in parameters.items():
            if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                options.setdefault(name, hints.get(name, Any))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return options


def _accepts(hint: Any, value: Any) -> bool:
    """Whether a value from yaml may stand for `hint`. What yaml can't express (modules, ...) is let through."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_accepts(option, value) for option in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if hint in (int, float, bool, str, type(None)):
        if isinstance(value, bool):
            return hint is bool
        return isinstance(value, (int, float) if hint is float else hint)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(_accepts(get_args(hint)[1], item) for item in value.values())
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return isinstance(value, list) and all(_accepts(get_args(hint)[0], item) for item in value)
    # A node with a _target_ becomes an object; plain values are no objects.
    return hint is Any or isinstance(value, dict | list) or not _is_object(hint)


def _is_object(hint: Any) -> bool:
    return inspect.isclass(hint) and hint.__module__.partition(".")[0] in {"da", "torch"}


def _name(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")
