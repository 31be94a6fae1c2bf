"""Query towers made smaller: changed by algorithms, taught again, converted. Knows no recipe and no run."""
