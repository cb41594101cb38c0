"""Structured logs: an event name and fields. Ids, never content, never secrets."""

from __future__ import annotations

import logging
import sys
from typing import Any, cast

# structlog would load rich for colored tracebacks: 4 MB in each process that no one needs.
_loaded = cast(dict[str, Any], sys.modules)
if "rich" not in _loaded:
    _loaded["rich"] = None
import structlog  # noqa: E402

if _loaded.get("rich", structlog) is None:  # it can still be imported later
    del _loaded["rich"]

_PLAIN = "%(name)s %(levelname)s %(message)s"


def configure_logs(*, level: str = "info", json_lines: bool = False) -> None:
    """Set up structlog and the standard library's loggers for one process; both write to stderr."""
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json_of_libraries() if json_lines else logging.Formatter(_PLAIN))
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler])


def _json_of_libraries() -> logging.Formatter:
    """Formats records of libraries like our own."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            _name_component,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )


def _name_component(
    _: logging.Logger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    event["component"] = event["_record"].name
    return event


def logger(name: str) -> structlog.stdlib.BoundLogger:
    bound: structlog.stdlib.BoundLogger = structlog.get_logger(component=name)
    return bound
