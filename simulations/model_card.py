"""The model card beside a trained adapter: what it is, what it promises, how to use it."""

from typing import Any


def model_card(summary: dict[str, Any], base: dict[str, str]) -> str:
    """The card as Markdown with a YAML head, as model hubs read it.

    Args:
        summary: of the run, see `simulations.run`.
        base: what the adapter sits on.
    """
    mean = summary["mean"]
    rows = "\n".join(
        f"| {name} | {facts['systems']['frozen']['ndcg@10']:.4f} "
        f"| {facts['systems']['federated']['ndcg@10']:.4f} | {_promise(facts)} |"
        for name, facts in summary["platforms"].items()
    )
    warnings = ""
    if not summary["private"]:
        warnings += (
            "\n> **NOT PRIVATE.** Trained with epsilon = inf: "
            "no clipping, no noise, no guarantee.\n"
        )
    elif summary["unsafe_seed"]:
        warnings += (
            "\n> **Seeded simulation.** The noise can be recomputed from the seed: this adapter "
            "protects nobody and must not be trained on other people's data.\n"
        )
    return f"""---
library_name: peft
tags: [federated-learning, differential-privacy, recommendation, lora]
---

# fedinterest adapter

LoRA on the linear layer `items` of the fedinterest interest model, which adds to an item's vector
what it makes of its features (the encoder's layers). Trained by {len(summary["platforms"])}
platforms in {summary["rounds"]} rounds; written multiplied out:
`lora_A` is all of what was learned, `lora_B` the identity.
{warnings}
| platform | frozen NDCG@10 | federated NDCG@10 | promise to each user |
|---|---|---|---|
{rows}
| **mean** | {mean["frozen"]["ndcg@10"]:.4f} | {mean["federated"]["ndcg@10"]:.4f} | |

The promise is differential privacy for one user of one platform with all their events (add or
remove one user), accounted with privacy loss distributions from the platform's own ledger.

- Base encoder: `{base["encoder"]}`
- Whitening: `{base["whitening"]}`
- Adapter SHA-256: `{summary["adapter_sha256"]}`

Use it with `fedinterest recommend --run RUN --platform NAME --user ID`.
"""


def _promise(facts: dict[str, Any]) -> str:
    if facts["epsilon"] == "inf":
        return "none"
    return f"epsilon {facts['epsilon']:.2f}, delta {facts['delta']:.1e}"
