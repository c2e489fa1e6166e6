#!/usr/bin/env bash
# The forecasting table of docs/forecast.md: all models on exchange_rate and M4 Hourly, with the blog's settings, several seeds, each
# seed back-tested alone and all seeds of a model as an ensemble. Interrupted, it goes on where it was.
#
#   DATA=folder scripts/reproduce_forecast_table.sh      folder with exchange_rate.txt.gz and m4_hourly.parquet
#
# The Parquet file holds M4's hourly series with their time stamps (columns series_id, timestamp, value), train and test joined; M4's own CSV
# files have no time stamps, so that no model could know the hour of the day.
#
# OUT (runs/forecast-table), SEEDS ("0 1 2"), MODELS, EPOCHS (50) and JOBS (runs at once, each on its share of the cores) may be set.
set -euo pipefail
DATA=${DATA:-data}
OUT=${OUT:-runs/forecast-table}
SEEDS=${SEEDS:-0 1 2}
MODELS=${MODELS:-transformer informer autoformer dlinear patchtst}
EPOCHS=${EPOCHS:-50}
JOBS=${JOBS:-$(nproc)}
TOOL=${TOOL:-tool}

source_of() {
    case $1 in
        exchange_rate) echo --data exchange_rate --data-file "$DATA/exchange_rate.txt.gz" ;;
        m4_hourly) echo --data "$DATA/m4_hourly.parquet" --prediction-length 48 ;;
    esac
}

train() { # data set, model, seed
    local log=$OUT/$1/$2-$3.log
    mkdir -p "$OUT/$1"
    if grep -qs '^done ' "$log"; then return; fi
    # shellcheck disable=SC2046 # the options are words of their own
    "$TOOL" train forecast $(source_of "$1") --model "$2" --seed "$3" --epochs "$EPOCHS" \
        --output-dir "$OUT/$1/$2-$3" > "$log" 2> "$log.err" || { tail -n 3 "$log.err" >&2; return 1; }
    echo "$1 $2 seed $3: $(grep '^done ' "$log")"
}

runs_of() { # data set, model: one --model flag a seed
    for seed in $SEEDS; do
        for run in "$OUT/$1/$2-$seed"/forecast-*; do echo --model "$run"; done
    done
}

test_all() { # data set: every model alone, its seeds joined, and everything joined
    for model in $MODELS; do
        # shellcheck disable=SC2046
        "$TOOL" backtest $(runs_of "$1" "$model") --output-dir "$OUT/$1/backtests" --json > "$OUT/$1/$model.json"
    done
    # shellcheck disable=SC2046
    "$TOOL" backtest $(for model in $MODELS; do runs_of "$1" "$model"; done) --output-dir "$OUT/$1/backtests" --json > "$OUT/$1/all.json"
}

read -ra models <<< "$MODELS"
export -f train source_of
export DATA OUT EPOCHS TOOL
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( ($(nproc) + JOBS - 1) / JOBS ))}
for seed in $SEEDS; do
    for model in $MODELS; do
        for data in exchange_rate m4_hourly; do echo "$data $model $seed"; done
    done
done | xargs -P "$JOBS" -L 1 bash -c 'train "$@"' train
for data in exchange_rate m4_hourly; do test_all "$data"; done
"$(dirname "$0")/forecast_table.py" "$OUT" "${models[@]}"
