"""The version of the package: in the signature of every score, in every file that lasts."""

VERSION = "0.1.0"
