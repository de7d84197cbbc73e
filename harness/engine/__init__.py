"""Engines make a stack exist: a plan that prints, then an executor without decisions."""

from harness.engine.plan import (
    AttachedPlan,
    ContainerPlan,
    Containers,
    Endpoint,
    FileCopy,
    Image,
    ProcessPlan,
    ServicePlan,
    StackPlan,
)

__all__ = [
    "AttachedPlan",
    "ContainerPlan",
    "Containers",
    "Endpoint",
    "FileCopy",
    "Image",
    "ProcessPlan",
    "ServicePlan",
    "StackPlan",
]
