"""Product: rows times a weight, as the device likes it best."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["DenseProduct", "PackedProduct", "Product", "product"]


class Product(Protocol):
    """Rows [n, in] times the transpose of a weight [out, in]."""

    def __call__(self, rows: Tensor) -> Tensor:
        """The product: [n, out]."""
        ...

    def added_to(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Hidden states [n, out] with the product added; `hidden` itself may be changed by it."""
        ...


def product(weight: Tensor) -> Product:
    """The fastest one for a weight where it lies and in its type."""
    return PackedProduct(weight) if weight.device.type == "cpu" and _packs(weight.dtype) else DenseProduct(weight)


def _packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN is there and takes weights of that type on this processor."""
    if not torch._C._has_mkldnn:
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class DenseProduct:
    """By the weight as it is."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight

    def __call__(self, rows: Tensor) -> Tensor:
        """The product: [n, out]."""
        return functional.linear(rows, self._weight)

    def added_to(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Hidden states [n, out] with the product added, in place."""
        return hidden.addmm_(rows, self._weight.t())


class PackedProduct:
    """By a copy of the weight in oneDNN's own layout.

    PyTorch gives float32 products to MKL, which on processors that are not Intel's takes more than twice as long as
    oneDNN does; and weights that wait in their final layout save a pass over them each time.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)

    def __call__(self, rows: Tensor) -> Tensor:
        """The product: [n, out]."""
        made: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, None, "none", [], "")
        return made

    def added_to(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Hidden states [n, out] with the product added, in one pass."""
        added: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, hidden, self._weight, None, "add")
        return added
