"""Ask the service about flights of the held-out days, and compare with what happened."""

import argparse

import httpx
import pandas as pd

HELD_OUT_FROM = "2013-10-01"


def main() -> None:
    parser = argparse.ArgumentParser(description="Send flights to serve.py.")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--count", type=int, default=500)
    arguments = parser.parse_args()

    flights = pd.read_parquet("data/features.parquet", columns=["flight_id", "day", "late30"])
    held_out = flights[pd.to_datetime(flights["day"]) >= HELD_OUT_FROM]
    sample = held_out.sample(arguments.count, random_state=2013)

    answers = []
    with httpx.Client(base_url=arguments.url, timeout=10) as client:
        for flight_id in sample["flight_id"]:
            response = client.post("/predict", json={"flight": flight_id})
            response.raise_for_status()
            answers.append(response.json()["late30"])

    answered = sample.assign(probability=answers)
    answered.to_csv("data/predictions.csv", index=False)
    print(f"{len(answered)} predictions in data/predictions.csv")
    print(f"expected late: {answered['probability'].mean():.3f}")
    print(f"came late:     {answered['late30'].mean():.3f}")


if __name__ == "__main__":
    main()
