"""What the preset `ingestion` adds: processing, metadata, uploads to storage."""

from panels import SERVICE, UNIT, Board, per_second, ratio

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
    .of_a_preset("storage_uploads_total")
    .row("Now")
    .number("Uploads", UNIT.OpsPerSecond, UPLOADS, "Uploads that were answered.", width=6)
    .number(
        "Failed", UNIT.PercentUnit, ratio(FAILED, UPLOADS), "Share of uploads that were not taken.", width=6
    )
    .p95("Processing", PROCESS)
    .p95("Metadata", METADATA)
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
    .durations("processing", PROCESS)
    .row("Metadata")
    .durations("extraction", METADATA)
)
