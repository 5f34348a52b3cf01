"""Data in: files of events, items and profiles into the store and the event log.

import_files(files, options, workspace=…, store=…, at=…)
    open_source      which format each file is                            sources
    read_…           its findings: canonical, online_retail, mapped
    ConsentRule      whether a person's rows may be kept as theirs         consent
    store.append     in batches; what breaks a rule is rejected            importing, records
    store.archive    on into the event log
"""

from training.datasets.consent import ConsentMissing, ConsentStatement
from training.datasets.importing import Watch, import_files, watch_nothing
from training.datasets.sources import DataFile, ImportOptions
from training.datasets.summary import FileSummary, ImportSummary

__all__ = [
    "ConsentMissing",
    "ConsentStatement",
    "DataFile",
    "FileSummary",
    "ImportOptions",
    "ImportSummary",
    "Watch",
    "import_files",
    "watch_nothing",
]
