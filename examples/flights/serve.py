"""Answer over HTTP: how likely is this flight to arrive 30 minutes late or more?

POST /predict {"flight": "2013-12-01-UA1545-EWR"}     a flight of data/features.parquet
POST /predict {"features": {"carrier": "UA", …}}      or its features themselves
"""

import argparse

import joblib
import pandas as pd
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from threadpoolctl import threadpool_limits

model = joblib.load("models/late30.joblib")
features = pd.read_parquet("data/features.parquet").set_index("flight_id")
columns = list(model.feature_names_in_)

# One row gains nothing from threads, and fifty trees would wait for them fifty times. Said here,
# since it reaches only the libraries that are loaded.
threadpool_limits(limits=1)


async def predict(request: Request) -> JSONResponse:
    question = await request.json()
    if "features" in question:
        row = pd.DataFrame([question["features"]], columns=columns)
    elif question.get("flight") in features.index:
        row = features.loc[[question["flight"]], columns]
    else:
        return JSONResponse({"error": f"no flight {question.get('flight')}"}, status_code=404)
    probability = float(model.predict_proba(row)[0, 1])
    return JSONResponse({"late30": probability})


async def health(_: Request) -> JSONResponse:
    return JSONResponse({"model": "late30", "flights": len(features)})


app = Starlette(
    routes=[Route("/predict", predict, methods=["POST"]), Route("/health", health)],
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve models/late30.joblib.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
