"""Class names as people write them: from folders and archives, for reports and for captions."""

import re


def readable(name: str) -> str:
    """A class's name as words for a prompt, and safe as a folder's name.

    `001.ak47` becomes `ak47`, `faces-easy-101` `faces easy`, `AnnualCrop` `annual crop`,
    `apartment_building/outdoor` `apartment building outdoor`.
    """
    name = re.sub(r"^\d{3}\.|-101$", "", name)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.sub(r"[-_/\s]+", " ", name).strip().lower()


def prompt_name(name: str) -> str:
    """A class name as a caption says it: "AnnualCrop", "101.annual-crop" and "annual_crop" are "annual crop"."""
    name = re.sub(r"^\d+\.", "", name)  # Caltech-256 numbers its folders
    name = re.sub(r"-101$", "", name)  # and marks those taken over from Caltech-101
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # EuroSAT writes in camel case
    return re.sub(r"[\s_/-]+", " ", name).strip().lower() or name
