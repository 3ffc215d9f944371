"""What ``setup.cfg`` cannot say: ``config/`` and ``process/`` are parts of the package in a wheel."""

from setuptools import find_packages, setup

BESIDE = {"legorec.config": "config", "legorec.process": "process"}

setup(packages=[*find_packages(include=["legorec", "legorec.*"]), *BESIDE], package_dir=BESIDE)
