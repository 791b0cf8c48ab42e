"""The door to the invented compute world, `synthetic/world.py`: data centres, operators, batteries, workloads."""

from __future__ import annotations

from synthetic.world import data_centres, operators, pipeline_agent, storage_assets, workloads

__all__ = ["data_centres", "operators", "pipeline_agent", "storage_assets", "workloads"]
