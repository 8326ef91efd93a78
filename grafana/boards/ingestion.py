"""What the preset `ingestion` adds: processing, metadata, uploads to storage."""

from panels import UNIT, Board, per_second, quantile, quantiles, ratio

SERVICE = 'service="$service"'
PROCESS = "content_processing_duration_seconds"
METADATA = "metadata_extraction_duration_seconds"
UPLOADS = per_second("storage_uploads_total", SERVICE)
BYTES = per_second("storage_upload_bytes_total", SERVICE)
DONE = per_second("storage_uploads_total", SERVICE + ',result="success"')
FAILED = per_second("storage_uploads_total", SERVICE + ',result="failure"')

BOARD = (
    Board(
        "gatemeter-ingestion",
        "Gatemeter / Ingestion service",
        "Processing, metadata and uploads, from the preset ingestion.",
    )
    .choose("service", "Service", "storage_uploads_total", "service", several=False)
    .link("The service in depth", "gatemeter-service", "Routes, latency, caches, pool of this service")
    .link("All services", "gatemeter-overview", "All services side by side")
    .row("Now")
    .number("Uploads", UNIT.OpsPerSecond, UPLOADS, "Uploads that were answered.", width=6)
    .number(
        "Failed", UNIT.PercentUnit, ratio(FAILED, UPLOADS), "Share of uploads that were not taken.", width=6
    )
    .number(
        "Processing p95",
        UNIT.Seconds,
        quantile("0.95", PROCESS, SERVICE),
        "As the service measured it.",
        width=6,
    )
    .number(
        "Metadata p95",
        UNIT.Seconds,
        quantile("0.95", METADATA, SERVICE),
        "As the service measured it.",
        width=6,
    )
    .row("Uploads to storage")
    .graph(
        "Uploads by result",
        UNIT.OpsPerSecond,
        [(per_second("storage_uploads_total", SERVICE, "result"), "{{result}}")],
        "A failure is any answer but 2xx, so also a file that was refused.",
        stacked=True,
    )
    .graph("Bytes taken", UNIT.BytesPerSecondIEC, [(BYTES, "taken")], "Of the uploads that succeeded.")
    .graph(
        "Mean size of an upload",
        UNIT.BytesIEC,
        [(f"{BYTES} / {DONE}", "size")],
        "Of the uploads that succeeded.",
    )
    .row("Processing")
    .heat("Durations of processing", PROCESS, SERVICE, "How many fell into which bucket.")
    .graph(
        "Duration of processing",
        UNIT.Seconds,
        quantiles(PROCESS, SERVICE),
        "As the service measured it.",
        width=12,
    )
    .row("Metadata")
    .heat("Durations of extraction", METADATA, SERVICE, "How many fell into which bucket.")
    .graph(
        "Duration of extraction",
        UNIT.Seconds,
        quantiles(METADATA, SERVICE),
        "As the service measured it.",
        width=12,
    )
)
