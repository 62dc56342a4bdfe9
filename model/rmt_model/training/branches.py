"""Branches of what is read: positions that see a segment up to some place, and that nothing which is read sees."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Branches"]


@dataclass(frozen=True, slots=True)
class Branches:
    """Rows of branches, one after another behind what is read; what stands on one is as if the text ended at its place.

    Attributes:
        owners: Number of the branch of each position, -1 for padding, [lanes, B].
        seen: Tokens of the segment that each position sees, [lanes, B].
        steps: How far each position is behind the place where its branch begins, [lanes, B].
    """

    owners: Tensor
    seen: Tensor
    steps: Tensor

    @classmethod
    def of_equal_length(cls, seen: Tensor, length: int) -> "Branches":
        """Branches of `length` positions each, beginning behind `seen` tokens, [lanes, K]."""
        lanes, count = seen.shape
        owners = torch.arange(count, device=seen.device).repeat_interleave(length).expand(lanes, -1)
        steps = torch.arange(length, device=seen.device).repeat(count).expand(lanes, -1)
        return cls(owners, seen.repeat_interleave(length, dim=1), steps)

    def __add__(self, other: "Branches") -> "Branches":
        """These, and behind them the others."""
        others = torch.where(other.owners < 0, -1, other.owners + self.owners.amax() + 1)
        return Branches(
            torch.cat((self.owners, others), dim=1),
            torch.cat((self.seen, other.seen), dim=1),
            torch.cat((self.steps, other.steps), dim=1),
        )

    def to(self, device: torch.device) -> "Branches":
        """The same branches on a device."""
        return Branches(self.owners.to(device), self.seen.to(device), self.steps.to(device))

    def positions(self, trunk: int, before: int) -> Tensor:
        """Positions [lanes, trunk + B] of what is read, `trunk` long, and the branches behind it.

        Args:
            trunk: Length of what is read: memory, focus and segment, and memory again where it is written.
            before: What of it stands in front of the segment.
        """
        read = torch.arange(trunk, device=self.seen.device).expand(len(self.seen), -1)
        return torch.cat((read, before + self.seen + self.steps), dim=1)

    def mask(self, trunk: int, before: int) -> Tensor:
        """Which positions see which, bool [lanes, 1, trunk + B, trunk + B]; arguments as for `positions`."""
        lanes, width = self.seen.shape
        at = torch.arange(trunk + width, device=self.seen.device)
        causal = at[:, None] >= at
        sees_read = at[:trunk] < (before + self.seen)[..., None]
        own = (self.owners[:, :, None] == self.owners[:, None, :]) & causal[trunk:, trunk:]
        read = causal[:trunk].expand(lanes, -1, -1)
        return torch.cat((read, torch.cat((sees_read, own), dim=2)), dim=1).unsqueeze(1)
