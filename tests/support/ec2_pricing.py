"""GetProducts of the price list service in its real shape, for the types of the bundled catalogue: moto has none."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).resolve().parents[2] / "controller" / "clouds" / "ec2" / "market" / "catalogue.json"
PAGE = 100
DEDICATED = 1.07
"""How much dearer than the usual a dedicated instance is here."""


@functools.cache
def prices() -> dict[str, dict[str, float]]:
    """USD per hour, on demand, by region and type."""
    return json.loads(CATALOGUE.read_text())["on_demand_usd_per_hour"]


def get_products(request: Mapping[str, Any]) -> dict[str, Any]:
    """One page of the products that the filters leave; of the filters, instanceType, tenancy and regionCode count."""
    wanted = {one["Field"]: one["Value"] for one in request.get("Filters", ())}
    region = wanted.get("regionCode", "us-east-1")
    tenancy = wanted.get("tenancy", "Shared")
    times = DEDICATED if tenancy == "Dedicated" else 1.0
    table = {name: price * times for name, price in prices().get(region, {}).items() if price}
    types = [name for name in sorted(table) if table[name] and wanted.get("instanceType", name) == name]
    first = int(request.get("NextToken") or 0)
    size = int(request.get("MaxResults", PAGE))
    page = {
        "FormatVersion": "aws_v1",
        "PriceList": [json.dumps(_product(name, table[name], region, tenancy)) for name in types[first : first + size]],
    }
    return page | ({"NextToken": str(first + size)} if first + size < len(types) else {})


def _product(name: str, price: float, region: str, tenancy: str) -> dict[str, Any]:
    sku = hashlib.sha256(f"{region}/{name}".encode()).hexdigest()[:16].upper()
    offer, rate = f"{sku}.JRTCKXETXF", f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    return {
        "product": {
            "productFamily": "Compute Instance",
            "attributes": {
                "instanceType": name,
                "operatingSystem": "Linux",
                "tenancy": tenancy,
                "preInstalledSw": "NA",
                "capacitystatus": "Used",
                "licenseModel": "No License required",
                "marketoption": "OnDemand",
                "operation": "RunInstances",
                "regionCode": region,
                "servicecode": "AmazonEC2",
            },
            "sku": sku,
        },
        "serviceCode": "AmazonEC2",
        "terms": {
            "OnDemand": {
                offer: {
                    "sku": sku,
                    "offerTermCode": "JRTCKXETXF",
                    "effectiveDate": "2026-11-01T00:00:00Z",
                    "termAttributes": {},
                    "priceDimensions": {
                        rate: {
                            "rateCode": rate,
                            "unit": "Hrs",
                            "beginRange": "0",
                            "endRange": "Inf",
                            "description": f"${price} per On Demand Linux {name} Instance Hour",
                            "appliesTo": [],
                            "pricePerUnit": {"USD": f"{price:.10f}"},
                        }
                    },
                }
            }
        },
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    }
