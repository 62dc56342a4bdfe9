"""Products: the same rows, packed or not."""

import pytest
import torch

from rmt_model.product import DenseProduct, PackedProduct, product


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 7, 400])
@pytest.mark.parametrize("kind", [DenseProduct, PackedProduct])
def test_a_product_is_the_linear_map(kind: type[DenseProduct], rows: int, dtype: torch.dtype) -> None:
    if kind is PackedProduct and not isinstance(product(torch.zeros(4, 4, dtype=dtype)), PackedProduct):
        pytest.skip("this processor packs no weights of this type")
    generator = torch.Generator().manual_seed(rows)
    weight, inputs, hidden = (
        torch.randn(shape, generator=generator).to(dtype) for shape in ((48, 32), (rows, 32), (rows, 48))
    )
    wanted = inputs.double() @ weight.double().t()
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    with torch.inference_mode():
        made = kind(weight)
        found, added = made(inputs), made.added_to(hidden.clone(), inputs)
    torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance * 8)
    torch.testing.assert_close(added.double(), wanted + hidden.double(), rtol=tolerance, atol=tolerance * 8)


def test_a_type_that_is_not_packed_is_taken_as_it_is() -> None:
    assert isinstance(product(torch.zeros(4, 4)), PackedProduct)
    assert isinstance(product(torch.zeros(4, 4, dtype=torch.float64)), DenseProduct)
    assert isinstance(product(torch.zeros(4, 4, device="meta")), DenseProduct)
