"""What LIRA's posterior of the simulated 511 keV sky is worth: bias and coverage of fluxes.

    python tests/benchmarks/lira_sphere.py [--seeds 20] [--draws 8000] [--burn 4000] [--hyper A B C]

Two months of a Compton telescope, 768 pixels, 40 000 photons under 200 000 counts of background
whose normalisation is fitted (the demo `compton`). The truth is the same for all seeds and not
drawn from the law, so coverage tells how far that law can be trusted here, not whether the sampler
is right. Chains mix slowly here: of so many photons few know their pixel. 300 draws after 200 gave
R-hat 2.4, and numbers that say nothing. Prints markdown for README.md.
"""

from __future__ import annotations

import argparse

import numpy as np

import skyfold
from skyfold.simulate import simulate
from skyfold_cosi.demos import compton

LEVELS = (0.68, 0.95)


def regions(sphere):
    """Return which pixels are bulge, disk and the rest."""
    lon, lat = sphere.directions()
    lon = (lon + 180) % 360 - 180
    bulge = np.hypot(lon, lat) < 15
    disk = (np.abs(lat) < 12) & ~bulge
    return {"bulge": bulge, "disk": disk, "rest": ~(bulge | disk), "all": np.ones_like(bulge)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--draws", type=int, default=8000)
    parser.add_argument("--burn", type=int, default=4000)
    parser.add_argument("--hyper", type=float, nargs=3, default=(1.0, 0.02, 1.0))
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, ...]]] = {}
    worst = []
    demo = compton()
    for seed in range(1, options.seeds + 1):
        result = skyfold.run(
            demo.data.with_counts(simulate(demo.data, demo.truth, seed)),
            method="lira",
            hyper=tuple(options.hyper),
            chains=2,
            draws=options.draws,
            burn=options.burn,
            seed=seed,
            progress=False,
        )
        posterior = result.posterior
        draws = posterior.samples("sky")[..., 0]
        for name, inside in regions(demo.data.components["sky"].geometry).items():
            true = demo.truth["sky"][inside, 0].sum()
            flux = draws[..., inside].sum(axis=-1).ravel() / true
            tails = [np.quantile(flux, ((1 - n) / 2, (1 + n) / 2)) for n in LEVELS]
            held = [float(low <= 1 <= high) for low, high in tails]
            rows.setdefault(name, []).append((flux.mean() - 1, flux.std(), *held))
        table = posterior.diagnostics()
        worst.append((float(np.nanmax(table["r_hat"])), float(np.nanmin(table["ess_bulk"]))))
        print(f"seed {seed}: " + ", ".join(
            f"{name} {of[-1][0]:+.3f} +- {of[-1][1]:.3f}" for name, of in rows.items()
        ) + f"; R-hat {worst[-1][0]:.3f}, ESS {worst[-1][1]:.0f}", flush=True)  # fmt: skip
    print("\n| flux | bias | error said | scatter | 68 % hold | 95 % hold |")
    print("|---|---|---|---|---|---|")
    for name, of in rows.items():
        off, said, *held = np.transpose(of)
        print(
            f"| {name} | {100 * off.mean():+.1f} % | {100 * said.mean():.1f} % "
            f"| {100 * off.std(ddof=1 if len(off) > 1 else 0):.1f} % "
            + " ".join(f"| {int(h.sum())} of {len(h)}" for h in held)
            + " |"
        )
    print(f"\nworst R-hat {max(w[0] for w in worst):.3f}, ESS {min(w[1] for w in worst):.0f}")


if __name__ == "__main__":
    main()
