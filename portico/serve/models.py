"""The routes of language models, as every process of Portico asks them: with their places, counts and health."""

from __future__ import annotations

from portico.clients.llm import ModelRoutes
from portico.clients.model_choice import SettingsFile
from portico.serve.foundation import Foundation
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
