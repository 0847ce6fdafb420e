"""The perceptron for tables."""

import pytest
import torch
from torch.testing import assert_close

from da.models.tabular import TabularMlp, embedding_width


def test_an_embedding_is_half_as_wide_as_the_category_and_no_wider_than_50():
    assert [embedding_width(n) for n in (1, 2, 3, 9, 98, 99, 1000)] == [1, 1, 2, 5, 49, 50, 50]


def test_the_numbers_come_first_and_the_embeddings_after_them():
    torch.manual_seed(0)
    net = TabularMlp(features=2, cardinalities=[4, 3], dims=[7, 5])
    numeric, codes = torch.randn(6, 2), torch.tensor([[1, 2], [2, 0], [3, 1], [0, 0], [1, 1], [3, 2]])
    tables = [net.embeddings[j].weight for j in (0, 1)]
    assert [table.shape for table in tables] == [(4, 2), (3, 2)]
    x = torch.cat([numeric, tables[0][codes[:, 0]], tables[1][codes[:, 1]]], dim=1)
    first, _, second = net.mlp
    expected = (x @ first.weight.T + first.bias).relu() @ second.weight.T + second.bias
    assert_close(net({"numeric": numeric, "categorical": codes}), expected)
    assert net.out_dim == 5


def test_a_value_that_was_never_trained_on_adds_nothing_and_learns_nothing():
    net = TabularMlp(features=1, cardinalities=[3], dims=[4])
    numeric = torch.ones(2, 1)
    unknown = net({"numeric": numeric, "categorical": torch.tensor([[0], [0]])})
    assert_close(unknown, numeric @ net.mlp[0].weight[:, :1].T + net.mlp[0].bias)
    net({"numeric": numeric, "categorical": torch.tensor([[0], [2]])}).sum().backward()
    gradient = net.embeddings[0].weight.grad
    assert (gradient[:2] == 0).all()
    assert (gradient[2] != 0).any()


def test_without_categories_x_is_the_numbers():
    net = TabularMlp(features=3, cardinalities=[], dims=[4])
    x = torch.randn(5, 3)
    assert_close(net(x), net.mlp(x))
    assert_close(net({"numeric": x, "categorical": torch.empty(5, 0, dtype=torch.long)}), net.mlp(x))


def test_without_numbers_x_is_the_categories():
    net = TabularMlp(features=0, cardinalities=[5], dims=[4])
    codes = torch.tensor([[1], [4]])
    x = {"numeric": torch.empty(2, 0), "categorical": codes}
    assert_close(net(x), net.mlp(net.embeddings[0].weight[codes[:, 0]]))


def test_what_it_cannot_read_is_named():
    with pytest.raises(TypeError, match="rows of numbers, but 1 categories are expected too"):
        TabularMlp(features=3, cardinalities=[5], dims=[4])(torch.randn(2, 3))
    with pytest.raises(ValueError, match="features=0 and no cardinalities: there is nothing to read"):
        TabularMlp(features=0, cardinalities=[], dims=[4])
    with pytest.raises(ValueError, match=r"cardinalities must be at least 1, got \[3, 0\]"):
        TabularMlp(features=1, cardinalities=[3, 0], dims=[4])
