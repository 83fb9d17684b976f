"""Class names in plain words, made from the names of folders in data sets."""

import re


def readable(name: str) -> str:
    """A class's name as words, for stores and reports; it can also be the name of a folder.

    `001.ak47` becomes `ak47`, `faces-easy-101` `faces easy`, `AnnualCrop` `annual crop`,
    `apartment_building/outdoor` `apartment building outdoor`.
    """
    name = re.sub(r"^\d{3}\.|-101$", "", name)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.sub(r"[-_/\s]+", " ", name).strip().lower()


def prompt_name(name: str) -> str:
    """A class's name in a caption: "AnnualCrop", "101.annual-crop" and "annual_crop" become "annual crop"."""
    name = re.sub(r"^\d+\.", "", name)  # Caltech-256 numbers its folders
    name = re.sub(r"-101$", "", name)  # and marks those taken over from Caltech-101
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # EuroSAT writes in camel case
    return re.sub(r"[\s_/-]+", " ", name).strip().lower() or name
