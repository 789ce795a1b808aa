"""Rows of a CSV as the checks beside this one read them."""

import csv


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
