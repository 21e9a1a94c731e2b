"""A corpus of what secrets look like. None of them opens anything.

Written in parts, the secret one second, so that no scanner of repositories takes them for leaked.
"""

from __future__ import annotations

from typing import Final

_KEY: Final = "PRIVATE" + " KEY"
_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "aws key id": ("AKIA", "IOSFODNN7EXAMPLE"),
    "aws session key id": ("ASIA", "Y34FZKBOKMUTVV7A"),
    "aws secret key": ("wJalrXUtnFEMI/K7MDENG", "/bPxRfiCYEXAMPLEKEY"),
    "google api key": ("AIza", "SyD3m0K3yD3m0K3yD3m0K3yD3m0K3yD3m"),
    "google access token": ("ya29.", "a0AfH6SMBx7Qk2v9T4Lr8ZpW"),
    "google client secret": ("GOCSPX", "-1mD3m0s3cr3tV4lu3x9Qw2Er"),
    "azure client secret": ("abc8Q~", "dEmOsEcReTvAlUe1234567890abcdefghi"),
    "azure storage": ("AccountKey=", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="),
    "azure sas": ("https://a.blob.core.windows.net/c?sv=2024&sig=", "9kX2mQw7Zr4Tb1Vn8Lp5Yc3Hd6Jf0Gs%3D"),
    "jwt": ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", ".eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"),
    "github token": ("ghp_", "16C7e42F292c6912E7710c838347Ae178B4a"),
    "github fine-grained": ("github_pat_", "11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ0123456789"),
    "gitlab token": ("glpat-", "x9Tq2Lm7Rk4Vw8Zp1Nc5"),
    "slack token": ("xoxb-", "263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1"),
    "slack hook": ("https://hooks.slack.com/services/", "T0DEM0T3AM/B0DEM0B0T5/x1Y2z3A4b5C6d7E8f9G0h1I2"),
    "stripe key": ("sk_live_", "4eC39HqLyjWDarjtT1zdp7dc"),
    "stripe restricted": ("rk_test_", "51Hq2LmTzRk4Vw8Zp1Nc5"),
    "pem": (
        f"-----BEGIN RSA {_KEY}-----\n",
        "MIIEpAIBAAKCAQEA7bq3v1y2Xn8Zt5Kd0Wf9Lr4Hc6Mg1Sp\nQv7Jx3Bu8Ye2Ta5Ni0Ol9Ez4",
        f"\n-----END RSA {_KEY}-----",
    ),
    "openssh": (
        f"-----BEGIN OPENSSH {_KEY}-----\n",
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ==",
        f"\n-----END OPENSSH {_KEY}-----",
    ),
    "url with password": ("postgresql://ann:", "c0rrect-h0rse", "@db.example/orders"),
    "url with token": ("https://", "x9tq2lm7rk4vw8zp1nc5", "@git.example/team/project.git"),
    "odbc": ("Server=db;Database=o;Uid=ann;Pwd=", "Tr0ub4dor&3;"),
    "libpq": ("host=db user=ann password=", "battery-st4ple"),
    "sendgrid": ("SG.", "x9Tq2Lm7Rk4Vw8Zp1Nc5Aa.Bb6Dd3Ff8Gg1Hh4Jj7Kk0Ll5Mm2Nn9Pp"),
    "npm": ("npm_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"),
    "pypi": ("pypi-", "AgEIcHlwaS5vcmcCJDEyMzQ1Njc4LWRlbW8"),
    "hugging face": ("hf_", "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"),
    "openai": ("sk-proj-", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4"),
    "anthropic": ("sk-ant-api03-", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4"),
    "databricks": ("dapi", "0123456789abcdef0123456789abcdef"),
    "vault": ("hvs.", "CAESIJx9Tq2Lm7Rk4Vw8Zp1Nc5Aa"),
    "bearer": ("Authorization: Bearer ", "x9Tq2Lm7Rk4Vw8Zp"),
    "basic": ("Authorization: Basic ", "YW5uOmNvcnJlY3QtaDByc2U="),
    "high entropy": ("q7R8s9T0u1V2", "w3X4y5Z6a7B8c9D0"),
    "lodeline key": ("lodeline_", "0f1e2d3c4b5a_x9Tq2Lm7Rk4Vw8Zp1Nc5AaBb6Dd3Ff8"),
}  # fmt: skip

CORPUS: Final = {name: "".join(parts) for name, parts in _PARTS.items()}
# What must not be found anywhere: the part of each that is secret. Of several lines, each one.
TRACES: Final = {name: parts[1].split("\n") for name, parts in _PARTS.items()}
# Secret only by the name that it stands under.
NAMED: Final = "hunter2-and-more"
