"""Charges as rows of FOCUS, the open billing format (focus.finops.org): versions 1.2 and 1.3.

Pure. Money is written with all of its decimals; null is an empty field. 1.3 adds who provides and
hosts, and how a shared GPU was split.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from whence.render_spend import decimal

if TYPE_CHECKING:
    from whence_proto.v1 import spend_pb2 as wire

COLUMNS_1_2: Final = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName",
    "BillingAccountType", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "CapacityReservationId", "CapacityReservationStatus", "ChargeCategory", "ChargeClass",
    "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
    "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName",
    "CommitmentDiscountQuantity", "CommitmentDiscountStatus", "CommitmentDiscountType",
    "CommitmentDiscountUnit", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost",
    "ListUnitPrice", "PricingCategory", "PricingCurrency", "PricingQuantity", "PricingUnit",
    "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName",
    "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter",
    "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType", "Tags",
    "x_BusyNs", "x_HeldNs", "x_RequestId", "x_RunId",
)  # fmt: skip
COLUMNS_1_3: Final = tuple(
    sorted(
        {
            *COLUMNS_1_2, "ServiceProviderName", "HostProviderName", "AllocatedMethodId",
            "AllocatedMethodDetails", "AllocatedResourceId", "AllocatedResourceName",
            "AllocatedTags",
        },
        key=lambda name: (name.startswith("x_"), name),
    )
)  # fmt: skip
COLUMNS: Final = {"1.2": COLUMNS_1_2, "1.3": COLUMNS_1_3}
_HOUR_NS: Final = 3_600_000_000_000
_DAY_NS: Final = 24 * _HOUR_NS
_CATEGORIES: Final = {"on-demand": "Standard", "reserved": "Committed", "spot": "Dynamic",
                      "owned": "Standard"}  # fmt: skip


def focus_rows(
    charges: Iterable[wire.ChargeRow], version: str, account: str
) -> Iterator[dict[str, str]]:
    """Yield one row for each charge that has a price, by column name.

    Time without a price is left out: FOCUS has no word for a cost that is not known.
    """
    columns = COLUMNS[version]
    for charge in charges:
        if charge.micro_usd < 0:
            continue
        row = _row(charge, account)
        if version == "1.3":
            row |= _allocation(charge, account)
        yield {name: row.get(name, "") for name in columns}


def _row(charge: wire.ChargeRow, account: str) -> dict[str, str]:
    quantity = _hours(charge.alloc_ns)
    is_unused = bool(charge.commitment) and not charge.run_id
    row = {
        "BilledCost": _money(0 if charge.commitment else charge.micro_usd),
        "BillingAccountId": account,
        "BillingAccountName": account,
        "BillingAccountType": "Organization",
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargeDescription": _description(charge),
        "ChargeFrequency": "Usage-Based",
        "ContractedCost": _money(charge.micro_usd),
        "ContractedUnitPrice": decimal(charge.nano_usd_per_gpu_hour, 9),
        "EffectiveCost": _money(charge.micro_usd),
        "InvoiceIssuerName": account,
        "ListCost": _money(charge.list_micro_usd),
        "ListUnitPrice": decimal(charge.list_nano_usd_per_gpu_hour, 9),
        "PricingCategory": _CATEGORIES.get(charge.term, "Other"),
        "PricingCurrency": "USD",
        "PricingQuantity": quantity,
        "PricingUnit": "GPU-Hours",
        "ProviderName": account,
        "PublisherName": account,
        "ResourceId": charge.gpu_uuid,
        "ResourceName": f"{charge.host}/{charge.gpu_uuid}",
        "ResourceType": "GPU",
        "ServiceCategory": "Compute",
        "ServiceName": "GPU host",
        "ServiceSubcategory": "Virtual Machines",
        "SubAccountId": charge.project,
        "SubAccountName": charge.project,
        "SubAccountType": "Project" if charge.project else "",
        "Tags": json.dumps(_tags(charge)),
        "x_BusyNs": "" if charge.busy_ns < 0 else str(charge.busy_ns),
        "x_HeldNs": str(charge.alloc_ns),
        "x_RequestId": charge.request_id,
        "x_RunId": charge.run_id,
        **_periods(charge),
        **_sku(charge),
    }
    if not is_unused:
        row |= {"ConsumedQuantity": quantity, "ConsumedUnit": "GPU-Hours"}
    if charge.commitment:
        row |= {
            "CommitmentDiscountCategory": "Usage",
            "CommitmentDiscountId": charge.commitment,
            "CommitmentDiscountName": charge.commitment,
            "CommitmentDiscountQuantity": quantity,
            "CommitmentDiscountStatus": "Unused" if is_unused else "Used",
            "CommitmentDiscountType": "Reserved GPUs",
            "CommitmentDiscountUnit": "GPU-Hours",
        }
    return row


def _periods(charge: wire.ChargeRow) -> dict[str, str]:
    """Return the UTC day of a charge and the month that bills it; ends are exclusive."""
    begin_ns = charge.from_unix_ns // _DAY_NS * _DAY_NS
    return {
        "BillingPeriodStart": _time(_month(begin_ns, 0)),
        "BillingPeriodEnd": _time(_month(begin_ns, 1)),
        "ChargePeriodStart": _time(begin_ns),
        "ChargePeriodEnd": _time(begin_ns + _DAY_NS),
    }


def _sku(charge: wire.ChargeRow) -> dict[str, str]:
    return {
        "SkuId": f"{charge.gpu_model}/{charge.term}",
        "SkuMeter": "GPU time",
        "SkuPriceDetails": json.dumps({"GpuCount": 1, "InstanceType": charge.gpu_model}),
        "SkuPriceId": str(charge.price_id),
    }


def _allocation(charge: wire.ChargeRow, account: str) -> dict[str, str]:
    """Return the columns of 1.3: who provides, and how a shared GPU was split."""
    row = {"ServiceProviderName": account, "HostProviderName": account}
    if not charge.run_id:
        return row
    span_ns = charge.until_unix_ns - charge.from_unix_ns
    return row | {
        "AllocatedMethodId": charge.method,
        "AllocatedMethodDetails": json.dumps(
            {"Elements": [{"UsageUnit": "GPU-Hours", "UsageQuantity": _hours(charge.alloc_ns),
                           "AllocatedRatio": f"{charge.alloc_ns / max(span_ns, 1):.9f}"}]}
        ),
        "AllocatedResourceId": charge.run_id,
        "AllocatedResourceName": charge.command[:200],
        "AllocatedTags": json.dumps(_tags(charge)),
    }  # fmt: skip


def _tags(charge: wire.ChargeRow) -> dict[str, str]:
    tags = {
        "part": charge.part,
        "user": charge.user,
        "project": charge.project,
        "request": charge.request_id,
        "principal_kind": charge.principal_kind,
    }
    return {name: value for name, value in tags.items() if value}


def _description(charge: wire.ChargeRow) -> str:
    what = {"idle": "nobody held it", "unattributed": "nobody watched it"}
    told = charge.command[:120] or what.get(charge.part, charge.part)
    return f"{charge.gpu_model} on {charge.host}: {told}"


def _money(micro_usd: int) -> str:
    return decimal(micro_usd, 6)


def _hours(span_ns: int) -> str:
    return decimal(span_ns * 10**9 // _HOUR_NS, 9)


def _time(unix_ns: int) -> str:
    return datetime.fromtimestamp(unix_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _month(unix_ns: int, later: int) -> int:
    """Return the begin of the month of a time, or of the month after it."""
    at = datetime.fromtimestamp(unix_ns // 10**9, UTC)
    months = at.year * 12 + at.month - 1 + later
    begin = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    return int(begin.timestamp()) * 10**9
