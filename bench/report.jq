# From the records of a run (results.jsonl, slurped) to the report in Markdown, or with
# --argjson summary true to one JSON object a row. $rows is rows.json; $about the text on top.

def median: map(numbers) | sort | if length == 0 then null
    elif length % 2 == 1 then .[(length - 1) / 2]
    else (.[length / 2 - 1] + .[length / 2]) / 2 end;

def fixed($digits): if . == null then "-" else
    (pow(10; $digits)) as $scale | (. * $scale | round) as $whole
    | ($whole % $scale | tostring) as $rest
    | "\($whole / $scale | floor)" + if $digits == 0 then "" else
        "." + ("0" * ($digits - ($rest | length)) // "") + $rest end end;

# Two figures that matter, whatever the size of the number.
def readable: if . == null then "-" elif . >= 100 then fixed(0) elif . >= 1 then fixed(2)
    else fixed(4) end;

def milliseconds: if . == null then "-" else "\(. / 1000 | fixed(2)) ms" end;

def verdict($row; $number):
    if $number == null then "no figure"
    elif $row.at_least and $number < $row.at_least then "MISSED"
    elif $row.at_most and $number > $row.at_most then "MISSED"
    elif $row.at_least or $row.at_most then "met"
    else "" end;

def target: if .at_least then ">= \(.at_least)" elif .at_most then "<= \(.at_most)" else "" end;

. as $records
| [$records[] | select(.kind == "round")] as $rounds
| [$records[] | select(.kind == "failure")] as $failures
| def of($case; $who): $rounds[] | select(.case == $case and .who == $who);
  # Requests a second or, `by` "size", bytes: where the requests of the two differ in size.
  def rates($case; $who; $by): [of($case; $who) | if $by == "size" then .rate * .size else .rate end];
  def rate($case; $who): rates($case; $who; null) | median;
  # Neighbouring runs of one round, so that a slow spell of the machine hits both.
  def spread($case; $who; $versus; $by):
    [rates($case; $who; $by), rates($case; $versus; $by)] | transpose
    | map(select(.[0] and .[1]) | .[0] / .[1]) | if length == 0 then null else [min, max] end;
  def failed($case): any($failures[]; .case == $case);

  [$rows.ratios[]
    | . as $row
    | rate(.case; .who) as $ours | rate(.case; .versus) as $theirs | rate(.case; "bare") as $ceiling
    | select($ours or $theirs or $ceiling or failed(.case))
    | (if $ours and $theirs then (rates(.case; .who; .by) | median) / (rates(.case; .versus; .by) | median)
       else null end) as $ratio
    | . + {ours: $ours, theirs: $theirs, ceiling: $ceiling, ratio: $ratio,
           to_ceiling: (if $ours and $ceiling then $ours / $ceiling else null end),
           spread: spread(.case; .who; .versus; .by), verdict: verdict($row; $ratio)}] as $ratios
| [$rows.values[]
    | . as $row
    | (if .who then [of(.case; .who) | .[$row.name] / (if $row.per then .[$row.per] else 1 end)]
       else [$records[] | select(.kind == "value" and .case == $row.case and .name == $row.name) | .number]
       end | median) as $number
    | select($number != null or failed(.case))
    | . + {number: $number, verdict: verdict($row; $number)}] as $values
| if $summary then ($ratios[], $values[], $failures[])
  else
    $about,
    "",
    "| case | rival, req/s | bare MHD, req/s | coffer, req/s | coffer / rival (rounds) | coffer / bare | target | |",
    "| --- | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ($ratios[] | "| \(.row) | \(.theirs | fixed(0)) | \(.ceiling | fixed(0)) | \(.ours | fixed(0)) | "
      + "**\(.ratio | fixed(2))** (\(if .spread then "\(.spread[0] | fixed(2)) to \(.spread[1] | fixed(2))" else "-" end)) "
      + "| \(.to_ceiling | fixed(2)) | \(target) | \(.verdict) |"),
    (if ($values | length) > 0 then
      "",
      "| figure | coffer | target | |",
      "| --- | ---: | --- | --- |",
      ($values[] | "| \(.row) | \(.number | readable) | \(target) | \(.verdict) |")
     else empty end),
    "",
    "| run | who | variant | wrk threads | median req/s | slowest to fastest round | MB/s | p50 | p99 |",
    "| --- | --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ($rounds | group_by([.case, .who]) | .[]
      | "| \(.[0].case) | \(.[0].who) | \(.[0].variant) | \(.[0].threads) | \(map(.rate) | median | fixed(0)) "
      + "| \(map(.rate) | min | fixed(0)) to \(map(.rate) | max | fixed(0)) "
      + "| \(map(select(.size) | .rate * .size / 1e6) | median | readable) "
      + "| \(map(.p50_us) | median | milliseconds) | \(map(.p99_us) | median | milliseconds) |"),
    "",
    "Targets: \([$ratios[], $values[] | select(.verdict == "met")] | length) met, "
      + "\([$ratios[], $values[] | select(.verdict == "MISSED")] | length) missed, "
      + "\([$ratios[], $values[] | select(.verdict == "no figure" and target != "")] | length) without a figure.",
    (if ($failures | length) > 0 then
      "", "**FAILED, so this run proves nothing about these:**", "",
      ($failures[] | "- \(.case), \(.who): \(.text)") else empty end)
  end
