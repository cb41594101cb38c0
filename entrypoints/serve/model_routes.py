"""The routes of language models, as every process of Portico asks them: with their places, counts and health."""

from __future__ import annotations

from entrypoints.serve.wiring import Foundation
from portico.llm.adopt import SettingsFile
from portico.llm.routes import ModelRoutes
from portico.storage.route_health import RouteHealth
from portico.storage.usage import ModelUsage


def model_routes(ground: Foundation) -> ModelRoutes:
    return ModelRoutes(
        ground.settings,
        ground.resolve,
        newer=SettingsFile(ground.home).changed,
        home=ground.home,
        locks=ground.home.run / "routes",
        usage=ModelUsage(ground.database),
        health=RouteHealth(ground.database),
    )
