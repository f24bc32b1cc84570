//! Amounts for display: smallest units to `115.00 SAR`, without floats.

/// Formats an amount the way the provider's `*_format` fields do.
pub(crate) fn format(amount: i64, currency: &str) -> String {
    let decimals: u32 = match currency {
        "JPY" | "KRW" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "OMR" | "TND" => 3,
        _ => 2,
    };
    let unit = 10_i64.pow(decimals);
    let (whole, rest) = (amount / unit, (amount % unit).unsigned_abs());
    if decimals == 0 {
        return format!("{whole} {currency}");
    }
    format!("{whole}.{rest:0width$} {currency}", width = decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn every_currency_has_its_own_decimals() {
        assert_eq!(format(11_505, "SAR"), "115.05 SAR");
        assert_eq!(format(1_005, "KWD"), "1.005 KWD");
        assert_eq!(format(100, "JPY"), "100 JPY");
        assert_eq!(format(0, "SAR"), "0.00 SAR");
    }
}
