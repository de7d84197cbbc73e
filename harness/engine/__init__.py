"""Engines make a stack exist: a plan that prints, then an executor without decisions."""

from harness.engine.plan import Endpoint, FileCopy, ServicePlan, StackPlan

__all__ = ["Endpoint", "FileCopy", "ServicePlan", "StackPlan"]
