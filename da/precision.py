"""The precision that is the fastest of those that keep the range of float32."""

from collections.abc import Collection


def fastest(accelerator: str, inputs: Collection[str], cached_features: bool = False) -> str:
    """Return "bf16-mixed" or "32-true", a value of `trainer.precision`.

    bfloat16 where the device multiplies matrices in it; elsewhere it is emulated, which is slow. Networks of rows of
    numbers, and what is trained on cached features, stay in float32: their products are too small to pay for the
    conversion.

    Args:
        accelerator: of the trainer, such as "cpu" or "gpu"; "auto" takes a GPU where there is one.
        inputs: what the network knows of its inputs, such as "channels" and "size"; "features" of rows of numbers.
        cached_features: whether the backbone runs once, before the training.
    """
    if "features" in inputs or cached_features:
        return "32-true"
    import torch  # here: the command line reads configs without it

    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("cpu", "auto"):
        known = torch.cpu.get_capabilities()  # named by the kind of processor: x86, ARM
        native = any(known.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    else:
        native = False
    return "bf16-mixed" if native else "32-true"
