"""Windows of a panel by one gather, under the input names of transformers' time-series models."""

from __future__ import annotations

import numpy as np
import torch

from tasks.forecast.panel import Panel

Batch = dict[str, torch.Tensor]


class Windows:
    """Cuts windows out of a panel that lies on `device`.

    A window holds `past_length` steps before its origin and `prediction_length` from it on. As in GluonTS's InstanceSplitter,
    what lies before a series' first value is 0, features too, and not observed.

    Args:
        past_length: context and the longest lag.
        device: where the panel is kept and the windows are made.
    """

    def __init__(
        self, panel: Panel, *, past_length: int, prediction_length: int, device: torch.device | str = "cpu"
    ) -> None:
        self.past_length, self.prediction_length = past_length, prediction_length
        self.device = torch.device(device)
        self.univariate = panel.dims == 1
        values = torch.from_numpy(panel.values)
        # On the CPU the panel itself is read, in float64; a copy on another device is float32.
        self.values = values if self.device.type == "cpu" else values.to(self.device, torch.float32)
        self.offsets = torch.from_numpy(panel.offsets).to(self.device)
        self.starts = torch.from_numpy(panel.starts).to(self.device)
        self.lengths = torch.from_numpy(panel.lengths).to(self.device)
        features = torch.from_numpy(panel.calendar.features(panel.calendar.length + prediction_length))
        age = torch.log10(2.0 + torch.arange(len(features), dtype=torch.float32))[:, None]
        self.calendar, self.age = self._runs(features), self._runs(age)
        # Series that begin together have one table of both, with zeros before it.
        first = int(panel.starts[0]) if len(set(panel.starts.tolist())) == 1 else None
        joint = None if first is None else torch.cat((features[first:], age[: len(age) - first]), dim=1)
        self.joint = None if joint is None else self._runs(joint)
        self.covariates = torch.from_numpy(panel.covariates).to(self.device)
        self.covariate_offsets = torch.from_numpy(panel.covariate_offsets).to(self.device)
        self.categories = torch.from_numpy(panel.static_categories).to(self.device)
        self.reals = torch.from_numpy(panel.static_reals).to(self.device)
        self.steps = torch.arange(-past_length, prediction_length, device=self.device)

    @property
    def num_time_features(self) -> int:
        """The calendar's, the age, and the covariates known beforehand."""
        return self.calendar.shape[2] + 1 + self.covariates.shape[1]

    def _runs(self, table: torch.Tensor) -> torch.Tensor:
        """A view on each run of a window's length, [positions, steps, columns]; run i begins past_length before row i, with zeros.

        A window's features are then one piece of memory to copy, and not a look-up for each step.
        """
        steps, width = self.past_length + self.prediction_length, table.shape[1]
        padded = torch.nn.functional.pad(table, (0, 0, self.past_length, self.prediction_length)).to(self.device)
        return padded.as_strided((len(padded) - steps + 1, steps, width), (width, width, 1))

    def take(
        self, series: np.ndarray | torch.Tensor, origin: np.ndarray | torch.Tensor, *, future: bool = True
    ) -> Batch:
        """The windows at the given origins.

        Args:
            series, origin: int64 [b].
            future: whether the values from the origin on are wanted, for training.

        Returns:
            past_values, past_observed_mask: float32 [b, past_length] ([b, past_length, dims] for several dimensions);
            past_time_features: float32 [b, past_length, features]; future_time_features: [b, prediction_length, features];
            static_categorical_features: int64 [b, categories] and static_real_features: float32 [b, reals], where there are any;
            future_values, future_observed_mask: as the past ones, [b, prediction_length].
        """
        series = torch.as_tensor(series, device=self.device)
        at = torch.as_tensor(origin, device=self.device)[:, None] + self.steps
        length, past = self.lengths[series][:, None], self.past_length
        steps = at if future else at[:, :past]
        there = (steps >= 0) & (steps < length)
        row = self.offsets[series][:, None] + torch.minimum(steps.clamp(min=0), length - 1)
        values = self.values[row].to(torch.float32)
        if self.univariate:
            values = values[..., 0]
        else:
            there = there[..., None]
        observed = there & ~values.isnan()
        values = torch.where(observed, values, 0.0)
        mask = observed.to(torch.float32)
        features = self._features(series, at)
        batch = {
            "past_values": values[:, :past],
            "past_observed_mask": mask[:, :past],
            "past_time_features": features[:, :past],
            "future_time_features": features[:, past:],
        }
        if self.categories.shape[1]:
            batch["static_categorical_features"] = self.categories[series]
        if self.reals.shape[1]:
            batch["static_real_features"] = self.reals[series]
        if future:
            batch["future_values"] = values[:, past:]
            batch["future_observed_mask"] = mask[:, past:]
        return batch

    def _features(self, series: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """[b, steps, features]: calendar, age (log10 of 2 + steps since the start), covariates; 0 before the series begins."""
        origin, start = at[:, self.past_length], self.starts[series]
        if self.joint is not None and not self.covariates.shape[1]:
            return self.joint[origin]
        parts = [self.calendar[start + origin], self.age[origin]]
        if self.covariates.shape[1]:
            parts.append(self.covariates[self.covariate_offsets[series][:, None] + at.clamp(min=0)])
        features = torch.cat(parts, dim=-1)
        # The calendar begins before a series that starts later; covariates are another series' there.
        # The CPU looks whether any window reaches there, which another device would have to wait for.
        if self.device.type == "cpu" and bool((at[:, 0] >= 0).all()):
            return features
        return torch.where((at >= 0)[..., None], features, 0.0)
