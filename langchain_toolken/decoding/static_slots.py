"""`Slots`: key-value states in tensors that change neither shape nor place, which a compiled step needs.

transformers' own `StaticCache` writes all rows at one column, so its rows have to be padded on the left and moved when
a longer one joins, and it can't be cropped. Here each row has a slot and stands at its beginning: token t of the row in
slot i is at [i, :, t]. To join is to fill a slot, to leave is to free one, and padding only ever lies behind a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin, DummyLayer, DynamicLayer
from transformers.masking_utils import create_masks_for_generate

# A row's states by layer, keys and values (heads, tokens, size); None for layers that use another's.
States = Sequence[tuple[Tensor, Tensor] | None]


class Slots:
    """Room for rows of up to `columns` tokens; none at first, see `reserve`.

    Args:
        like: a cache of the LM's, whose layers say the heads' number and size, the dtype and the device.
        columns: the longest row, in tokens.
    """

    def __init__(self, like: DynamicCache, columns: int) -> None:
        self.columns = columns
        self._layers: list[tuple[Tensor, Tensor] | None] = []
        layers: list[Any] = like.layers
        for layer in layers:
            if not layer.is_initialized:
                self._layers.append(None)
                continue
            keys, values = layer.keys, layer.values
            self._layers.append(
                (
                    keys.new_zeros(0, keys.shape[1], columns, keys.shape[-1]),
                    values.new_zeros(0, values.shape[1], columns, values.shape[-1]),
                )
            )
        self._first: dict[int, list[tuple[Tensor, Tensor] | None]] = {}

    @property
    def like(self) -> DynamicCache:
        """An empty cache with these layers, for `Slots` of another length."""
        return _dynamic([layer and (layer[0][:0], layer[1][:0]) for layer in self._layers])

    def reserve(self, rows: int) -> None:
        """Have at least so many slots; what is in the present ones stays."""
        for index, layer in enumerate(self._layers):
            if layer is not None and layer[0].shape[0] < rows:
                self._first = {}
                self._layers[index] = (_longer(layer[0], rows), _longer(layer[1], rows))

    def first(self, rows: int) -> list[tuple[Tensor, Tensor] | None]:
        """The first `rows` slots, by layer: views (rows, heads, columns, size), the same objects at every call."""
        if rows not in self._first:
            views = [layer and (layer[0][:rows], layer[1][:rows]) for layer in self._layers]
            for view in views:
                for tensor in view or ():
                    # CUDA graphs then write into it where it is, instead of into a copy.
                    torch._dynamo.mark_static_address(tensor)
            self._first[rows] = views
        return self._first[rows]

    def write(self, slot: int, states: States) -> None:
        """Put a row's states into a slot. What an earlier row left behind them goes: the mask hides it, but 0·NaN is
        NaN."""
        for layer, state in zip(self._layers, states, strict=True):
            if layer is not None and state is not None:
                for tensor, given in zip(layer, state, strict=True):
                    tensor[slot, :, : given.shape[1]] = given
                    tensor[slot, :, given.shape[1] :] = 0

    def read(self, slot: int, length: int) -> States:
        """The states of the first `length` tokens in a slot; views."""
        return [layer and (layer[0][slot, :, :length], layer[1][slot, :, :length]) for layer in self._layers]

    def cache_of(self, slot: int, length: int) -> DynamicCache:
        """The first `length` tokens in a slot as a cache of its own; a copy."""
        states = self.read(slot, length)
        return _dynamic([state and (state[0][None].clone(), state[1][None].clone()) for state in states])


def states_of(cache: DynamicCache, row: int, length: int) -> States:
    """The last `length` tokens of a row of a padded batch; views."""
    layers: list[Any] = cache.layers
    return [
        (layer.keys[row, :, layer.keys.shape[-2] - length :], layer.values[row, :, layer.values.shape[-2] - length :])
        if layer.is_initialized
        else None
        for layer in layers
    ]


def slot_cache(layers: Sequence[tuple[Tensor, Tensor] | None], positions: Tensor) -> Cache:
    """A transformers cache over the first slots, for a pass of one token a row, at `positions` (rows, 1) int64."""
    # Layers that use another's states have none of their own.
    made: list[Any] = [DummyLayer() if layer is None else _SlotLayer(*layer, positions) for layer in layers]
    return Cache(layers=made)


def slot_masks(config: Any, cache: Cache, positions: Tensor, dtype: torch.dtype) -> Any:
    """The attention masks of that pass, in the form that the model's attention takes: (rows, 1, 1, columns), or a dict
    of them by layer type. Only to be called while compiling.

    transformers knows the patterns (full, sliding, chunked), but thinks of one offset for all rows. So the rows are
    given to it as queries of a single sequence, each with its own offset.
    """
    rows = positions.shape[0]
    queries = torch.empty((1, rows, 0), dtype=dtype, device=positions.device)
    masks = create_masks_for_generate(
        config=config, inputs_embeds=queries, attention_mask=None, past_key_values=cache, position_ids=positions.mT
    )
    if isinstance(masks, dict):
        return {kind: mask.view(rows, 1, 1, -1) for kind, mask in masks.items()}
    return masks.view(rows, 1, 1, -1)


class _SlotLayer(CacheLayerMixin):
    """One layer's slots as transformers sees them: `update` writes each row's token at the row's own position."""

    is_compileable = True
    is_sliding = False  # all tokens are kept; sliding windows are in the mask

    def __init__(self, keys: Tensor, values: Tensor, positions: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values = keys, values  # where transformers looks for them
        self._states = keys, values
        self._positions = positions[:, 0]
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the slots are there already."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write states (rows, heads, 1, size); give those of all columns."""
        keys, values = self._states
        positions = self._positions.to(keys.device)
        rows = torch.arange(positions.shape[0], device=keys.device)
        keys[rows, :, positions] = key_states[:, :, 0]
        values[rows, :, positions] = value_states[:, :, 0]
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """All columns, from the first on."""
        return self._states[0].shape[-2], 0

    def get_seq_length(self) -> Any:
        """What `slot_masks` adds to the query's number to get its row's position (rows,)."""
        return self._positions - torch.arange(self._positions.shape[0], device=self._positions.device)

    def get_max_length(self) -> int:
        """The columns."""
        return self._states[0].shape[-2]


def _longer(tensor: Tensor, rows: int) -> Tensor:
    longer = tensor.new_zeros(rows, *tensor.shape[1:])
    longer[: tensor.shape[0]] = tensor
    return longer


def _dynamic(states: States) -> DynamicCache:
    cache = DynamicCache()
    layers: list[Any] = cache.layers
    for state in states:
        layer = DynamicLayer()
        if state is not None:
            layer.lazy_initialization(*state)
            layer.keys, layer.values = state
        layers.append(layer)
    return cache
